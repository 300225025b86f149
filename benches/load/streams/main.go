// Streams over HTTP/2 for the comparative benchmark, with Go's own client and server: bodies in small frames either way, and
// gRPC messages that stream or go to and fro.
//
//	ringress-streams origin PORT
//	ringress-streams generate PORT SECONDS CONNECTIONS STREAMS (download|upload|messages|pingpong) SIZE
//
// `generate` says "ready" when all connections are warm, runs on a line of input and prints one line of JSON. A request is
// 2 MB in pieces of SIZE bytes (2,000 pieces where that is less), or a thousand messages, or one message to and fro on a stream that stays.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bodyBytes       = 2_000_000
	piecesAtMost    = 2_000
	messagesOfACall = 1_000
	// What precedes a gRPC message: whether it is compressed, and its length.
	prefixBytes = 5
)

func main() {
	number := func(at int) int {
		value, err := strconv.Atoi(os.Args[at])
		if err != nil {
			panic(err)
		}
		return value
	}
	if os.Args[1] == "origin" {
		panic(origin(number(2)))
	}
	load := load{url: fmt.Sprintf("https://127.0.0.1:%d", number(2)), kind: os.Args[6], size: number(7)}
	load.run(number(4), number(5), time.Duration(number(3))*time.Millisecond)
}

// Paths are /KIND/SIZE; anything else has an empty answer.
func origin(port int) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), Protocols: protocols, Handler: http.HandlerFunc(answer)}
	return server.ListenAndServe()
}

func answer(writer http.ResponseWriter, request *http.Request) {
	kind, text, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
	size, _ := strconv.Atoi(text)
	controller := http.NewResponseController(writer)
	write := func(piece []byte) {
		_, _ = writer.Write(piece)
		_ = controller.Flush()
	}
	if strings.HasPrefix(request.Header.Get("Content-Type"), "application/grpc") {
		writer.Header().Set("Content-Type", "application/grpc")
		writer.Header().Set("Trailer", "Grpc-Status")
		defer writer.Header().Set("Grpc-Status", "0")
	}
	switch kind {
	case "download":
		for range piecesOf(size) {
			write(make([]byte, size))
		}
	case "messages":
		for range messagesOfACall {
			write(message(size))
		}
	case "pingpong":
		_ = controller.Flush()
		for buffer := make([]byte, prefixBytes+size); ; write(buffer) {
			if _, err := io.ReadFull(request.Body, buffer); err != nil {
				return
			}
		}
	default:
		_, _ = io.Copy(io.Discard, request.Body)
	}
}

func piecesOf(size int) int { return min(bodyBytes/size, piecesAtMost) }

func message(size int) []byte {
	return append([]byte{0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
}

type load struct {
	url, kind string
	size      int
	requests  atomic.Int64
	errors    atomic.Int64
	first     atomic.Value
	over      atomic.Bool
}

func (load *load) run(connections, streams int, duration time.Duration) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for range connections {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		client := &http.Client{Transport: &http.Transport{
			Protocols:       protocols,
			MaxConnsPerHost: 1,
			// Certificates are not what is measured; the cipher of TLS 1.3 that all peers take first is.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}}
		if response, err := client.Get(load.url + "/"); err != nil {
			load.fail(err)
		} else {
			_ = response.Body.Close()
		}
		for range streams {
			group.Go(func() {
				<-start
				for !load.over.Load() {
					if err := load.ask(client); err != nil {
						load.fail(err)
						return
					}
				}
			})
		}
	}
	fmt.Println("ready")
	_, _ = fmt.Scanln()
	began := time.Now()
	close(start)
	time.Sleep(duration)
	requests, seconds := load.requests.Load(), time.Since(began).Seconds()
	first, _ := load.first.Load().(string)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests, "seconds": seconds, "errors": load.errors.Load(), "first_error": first,
	})
	load.over.Store(true)
	group.Wait()
}

func (load *load) fail(err error) {
	load.errors.Add(1)
	load.first.CompareAndSwap(nil, err.Error())
}

// One request, or messages to and fro until the load is over.
func (load *load) ask(client *http.Client) error {
	path := fmt.Sprintf("%s/%s/%d", load.url, load.kind, load.size)
	switch load.kind {
	case "download":
		return load.read(client, must(http.NewRequest("GET", path, nil)), piecesOf(load.size)*load.size)
	case "upload":
		return load.read(client, must(http.NewRequest("POST", path, &pieces{left: piecesOf(load.size) * load.size, size: load.size})), 0)
	case "messages":
		return load.read(client, call(path, strings.NewReader(string(message(1)))), messagesOfACall*(prefixBytes+load.size))
	}
	return load.pingpong(client, path)
}

func (load *load) read(client *http.Client, request *http.Request, expected int) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	read, err := io.Copy(io.Discard, response.Body)
	if err == nil && (response.StatusCode != 200 || read != int64(expected)) {
		err = fmt.Errorf("status %d, %d bytes of %d", response.StatusCode, read, expected)
	}
	load.requests.Add(1)
	return err
}

func (load *load) pingpong(client *http.Client, path string) error {
	reader, writer := io.Pipe()
	defer writer.Close()
	ping, pong := message(load.size), make([]byte, prefixBytes+load.size)
	// The first goes with the head, as clients of gRPC send it.
	go func() { _, _ = writer.Write(ping) }()
	response, err := client.Do(call(path, reader))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for {
		if _, err := io.ReadFull(response.Body, pong); err != nil {
			return err
		}
		load.requests.Add(1)
		if load.over.Load() {
			return nil
		}
		if _, err := writer.Write(ping); err != nil {
			return err
		}
	}
}

func call(path string, body io.Reader) *http.Request {
	request := must(http.NewRequest("POST", path, body))
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	return request
}

func must(request *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return request
}

// A body that is read piece by piece, each of which becomes a frame.
type pieces struct{ left, size int }

func (body *pieces) Read(into []byte) (int, error) {
	if body.left == 0 {
		return 0, io.EOF
	}
	count := min(len(into), body.size, body.left)
	body.left -= count
	return count, nil
}
