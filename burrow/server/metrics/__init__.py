"""What Prometheus scrapes: measured by each process (L{measure}), told for all (L{exposition}, L{scrape})."""

METRICS_PATH = "/_burrow/metrics"
