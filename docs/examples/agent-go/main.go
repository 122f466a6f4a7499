// An agent in Go, on hashicorp/yamux and gorilla/websocket, written from docs/protocol.md: keeps one tunnel open.
//
//	BURROW_TOKEN=... go run . https://example.com http NAME localhost:3000
//
// BURROW_CA_FILE names a private CA's certificate. hashicorp/yamux cannot reset a stream: see section 2.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

var server, kind, name, upstream = os.Args[1], os.Args[2], os.Args[3], os.Args[4]
// bytesOf makes a WebSocket's binary messages a stream of bytes (section 1).
type bytesOf struct {
	*websocket.Conn
	message io.Reader
}

func (ws *bytesOf) Read(into []byte) (n int, err error) {
	for n == 0 && err == nil {
		if ws.message == nil {
			_, ws.message, err = ws.NextReader()
		} else if n, err = ws.message.Read(into); err == io.EOF {
			ws.message, err = nil, nil
		}
	}
	return n, err
}
func (ws *bytesOf) Write(data []byte) (int, error) { return len(data), ws.WriteMessage(2, data) }

func dial() (*bytesOf, error) {
	dialer := websocket.Dialer{HandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{}}
	if pem, err := os.ReadFile(os.Getenv("BURROW_CA_FILE")); err == nil {
		dialer.TLSClientConfig.RootCAs = x509.NewCertPool()
		dialer.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	dialer.Subprotocols = []string{"burrow.yamux.v1"}
	conn, answer, err := dialer.Dial(strings.Replace(server, "http", "ws", 1)+"/_burrow/agent", http.Header{
		"Authorization": {"Bearer " + os.Getenv("BURROW_TOKEN")},
		"Burrow-Agent":  {"agent-go-" + name}, // a real one is made at random once, and kept in a file
	})
	if err != nil && answer != nil && answer.StatusCode < 500 {
		log.Fatalf("the server refuses this agent: %s", answer.Status)
	}
	return &bytesOf{Conn: conn}, err
}

// readBox reads an AMP box (section 3), and not a byte more.
func readBox(from io.Reader) (map[string]string, error) {
	box, words := map[string]string{}, []string{}
	for size := make([]byte, 2); ; {
		if _, err := io.ReadFull(from, size); err != nil {
			return nil, err
		}
		text := make([]byte, binary.BigEndian.Uint16(size))
		if _, err := io.ReadFull(from, text); err != nil {
			return nil, err
		}
		if words = append(words, string(text)); len(words)%2 == 0 {
			box[words[len(words)-2]] = words[len(words)-1]
		} else if len(text) == 0 {
			return box, nil
		}
	}
}

func writeBox(to io.Writer, words ...string) {
	box := []byte{}
	for _, word := range words {
		box = append(binary.BigEndian.AppendUint16(box, uint16(len(word))), word...)
	}
	to.Write(append(box, 0, 0))
}

// visit joins a visitor's stream to the upstream (section 4).
func visit(stream *yamux.Stream) {
	defer stream.Close()
	head, err := readBox(stream)
	if err != nil {
		return
	}
	dialed, err := net.DialTimeout("tcp", upstream, 10*time.Second)
	if err != nil {
		if strings.HasPrefix(head["scheme"], "http") { // the server makes a page of it
			io.WriteString(stream, "HTTP/1.1 502 Bad Gateway\r\nBurrow-Error: refused\r\nContent-Length: 0\r\n\r\n")
		}
		return
	}
	conn, read := dialed.(*net.TCPConn), make(chan bool)
	go func() {
		if _, err := io.Copy(conn, stream); err != nil {
			conn.SetLinger(0) // the server reset the stream: the rest will not come
			conn.Close()
		}
		conn.CloseWrite()
		close(read)
	}()
	io.Copy(stream, conn)
	stream.Close()
	<-read
	conn.Close()
}

// serve serves one session, and returns when it is lost, or the server asks for another.
func serve(ws *bytesOf) error {
	config := yamux.DefaultConfig()
	config.KeepAliveInterval, config.ConnectionWriteTimeout = 2500*time.Millisecond, 7500*time.Millisecond
	session, _ := yamux.Client(ws, config)
	control, err := session.OpenStream()
	if err != nil {
		return err
	}
	go func() {
		for stream, err := session.AcceptStream(); err == nil; stream, err = session.AcceptStream() {
			go visit(stream)
		}
	}()
	open := []string{"_command", "OpenTunnel", "_ask", "1", "kind", kind, "name", name, "upstream", upstream}
	for writeBox(control, open...); ; {
		box, err := readBox(control)
		if err != nil {
			return err
		}
		switch {
		case box["_error_code"] == "UNAVAILABLE":
			time.AfterFunc(500*time.Millisecond, func() { writeBox(control, open...) })
		case box["_error"] != "":
			log.Fatal(box["_error_description"])
		case box["_answer"] != "":
			fmt.Println(box["url"])
		default:
			writeBox(control, "_answer", box["_ask"])
			if box["code"] == "taken-over" || box["code"] == "released" {
				log.Fatal(box["text"])
			} else if box["_command"] == "Drain" {
				go io.Copy(io.Discard, control) // this session goes on beside the next
				return nil
			}
		}
	}
}

func main() {
	var now *bytesOf
	running, _ := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-running.Done()
		if now != nil {
			now.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		}
		time.Sleep(time.Second)
		os.Exit(0)
	}()
	for running.Err() == nil {
		ws, err := dial()
		if err == nil {
			now = ws
			err = serve(ws)
		}
		log.Println("the session ended:", err) // a token that was revoked is refused at the next dialing
		time.Sleep(time.Duration(50+rand.Intn(450)) * time.Millisecond)
	}
}
