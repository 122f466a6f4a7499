// A yamux peer on the reference implementation, hashicorp/yamux, for test_reference.py.
//
// It dials ADDR and plays ROLE (client or server). The first line of each stream that we open
// to it says what it does there:
//
//	echo      sends back what it reads
//	digest    reads to the end, then answers with the SHA-256 in hex
//	source N  sends N bytes and closes
//	stall     reads nothing until the line "read" comes on standard input, then as digest
//
// Lines on standard input: "open COUNT SIZE" (open so many streams at once, write SIZE bytes on
// each, read as many back, compare), "ping", "goaway", "refuse" (accept no more streams), "read".
// Each is answered by one line on standard output.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/yamux"
)

var released = make(chan struct{})
var refused = make(chan struct{})

func serve(stream net.Conn) {
	defer stream.Close()
	reader := bufio.NewReader(stream)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line)
	switch words[0] {
	case "echo":
		io.Copy(stream, reader)
	case "stall", "digest":
		if words[0] == "stall" {
			<-released
		}
		sum := sha256.New()
		io.Copy(sum, reader)
		fmt.Fprintf(stream, "%x", sum.Sum(nil))
	case "source":
		size, _ := strconv.Atoi(words[1])
		io.Copy(stream, bytes.NewReader(make([]byte, size)))
	}
}

func roundTrip(session *yamux.Session, size int) error {
	stream, err := session.Open()
	if err != nil {
		return err
	}
	defer stream.Close()
	sent := bytes.Repeat([]byte{byte(size), 7, 11}, size/3+1)[:size]
	go stream.Write(sent)
	got := make([]byte, size)
	if _, err := io.ReadFull(stream, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("the echo differs")
	}
	return nil
}

func main() {
	conn, err := net.Dial("tcp", os.Args[2])
	if err != nil {
		panic(err)
	}
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	var session *yamux.Session
	if os.Args[1] == "client" {
		session, err = yamux.Client(conn, config)
	} else {
		session, err = yamux.Server(conn, config)
	}
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			select {
			case <-refused:
				return
			default:
			}
			stream, err := session.Accept()
			if err != nil {
				return
			}
			go serve(stream)
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "open":
			count, _ := strconv.Atoi(words[1])
			size, _ := strconv.Atoi(words[2])
			var group sync.WaitGroup
			errors := make(chan error, count)
			for i := 0; i < count; i++ {
				group.Add(1)
				go func() {
					defer group.Done()
					if err := roundTrip(session, size); err != nil {
						errors <- err
					}
				}()
			}
			group.Wait()
			select {
			case err := <-errors:
				fmt.Println("failed:", err)
			default:
				fmt.Println("opened", count)
			}
		case "ping":
			if _, err := session.Ping(); err != nil {
				fmt.Println("failed:", err)
			} else {
				fmt.Println("pong")
			}
		case "goaway":
			fmt.Println("goaway", session.GoAway())
		case "refuse":
			close(refused)
			fmt.Println("refusing")
		case "read":
			close(released)
			fmt.Println("reading")
		}
	}
}
