// What happens, as it happens. The browser connects again by itself, with the number of the last event.

export class Live {
  constructor(tell, state) {
    this.tell = tell;
    this.state = state;
  }

  start(last) {
    this.stop();
    this.source = new EventSource(`/api/events?last_event_id=${last}`);
    for (const kind of ["begun", "answered", "ended", "message", "cleared", "reset"]) {
      this.source.addEventListener(kind, (event) => this.tell(kind, JSON.parse(event.data)));
    }
    this.source.onopen = () => this.state(true);
    this.source.onerror = () => {
      this.state(false);
      if (this.source.readyState === EventSource.CLOSED) {
        clearTimeout(this.again);
        this.again = setTimeout(() => this.start(last), 2000);
      }
    };
  }

  stop() {
    clearTimeout(this.again);
    if (this.source) this.source.close();
  }
}
