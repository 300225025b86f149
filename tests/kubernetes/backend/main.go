// The services behind the cases: one process with many pods, each on an address of its own, that say what they saw.
//
// Standard input has a list of pods in JSON: {"service": "echo", "pod": "echo-1", "address": "127.20.1.1:8080"}.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type pod struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	Address string `json:"address"`
	// What it answers whatever is asked; 0 where it says what it saw.
	Status int `json:"status"`
	// Certificate and key of a service that speaks TLS.
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

func main() {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "load":
			load(os.Args[2:])
			return
		case "pod":
			alone(os.Args[2])
			return
		case "call":
			call(os.Args[2])
			return
		}
	}
	var pods []pod
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		fail(err)
	}
	for _, one := range pods {
		listener, err := net.Listen("tcp", one.Address)
		if err != nil {
			fail(err)
		}
		go serve(one, listener)
	}
	fmt.Println("ready")
	// Whoever started this ends it by closing its input.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// alone serves as one pod of a Deployment, until it is told to end.
func alone(service string) {
	one := pod{Service: service, Pod: os.Getenv("POD_NAME"), Address: ":8080"}
	server := &http.Server{Addr: one.Address, Handler: http.HandlerFunc(one.answer)}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		// As well-behaved applications do: what has begun comes to its end, and nothing new is taken once others had time to hear of it.
		time.Sleep(time.Second)
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != nil && err != http.ErrServerClosed {
		fail(err)
	}
	time.Sleep(100 * time.Millisecond)
}

func serve(one pod, listener net.Listener) {
	handler := http.HandlerFunc(one.answer)
	switch one.Service {
	case "grpc", "grpc-tls":
		serveGRPC(one, listener)
	case "control":
		fail(http.Serve(listener, http.HandlerFunc(tell)))
	case "fcgi":
		serveFastCGI(one, listener)
	default:
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
		server := &http.Server{Handler: handler, Protocols: protocols}
		if one.Cert != "" {
			server.TLSConfig = &tls.Config{ClientAuth: tls.RequestClientCert}
			fail(server.ServeTLS(listener, one.Cert, one.Key))
		}
		fail(server.Serve(listener))
	}
}

// What was seen, as every service tells it.
type seen struct {
	Service string      `json:"service"`
	Pod     string      `json:"pod"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Host    string      `json:"host"`
	Headers http.Header `json:"headers"`
	Proto   string      `json:"proto"`
	Body    string      `json:"body"`
}

func (one pod) answer(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if one.Status != 0 {
		w.WriteHeader(one.Status)
		return
	}
	if delay, err := time.ParseDuration(query.Get("delay")); err == nil {
		time.Sleep(delay)
	}
	body, _ := io.ReadAll(r.Body)
	said := seen{one.Service, one.Pod, r.Method, r.RequestURI, r.Host, r.Header, r.Proto, string(body)}
	observed.note(said)
	for _, field := range query["header"] {
		if name, value, found := strings.Cut(field, ":"); found {
			w.Header().Add(name, value)
		}
	}
	status := http.StatusOK
	if code, found := strings.CutPrefix(r.URL.Path, "/status/"); found && one.Service == "status" {
		if number, err := strconv.Atoi(code); err == nil && number >= 200 {
			status = number
		}
	}
	if rest, found := strings.CutPrefix(r.URL.Path, "/basic/"); found && one.Service == "auth" {
		user, password, _ := strings.Cut(rest, "/")
		if name, secret, ok := r.BasicAuth(); !ok || name != user || secret != password {
			status = http.StatusUnauthorized
		}
	}
	if kind := query.Get("type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	} else if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	if size, err := strconv.Atoi(query.Get("header-size")); err == nil {
		w.Header().Set("X-Large", strings.Repeat("x", size))
	}
	w.Header().Set("X-Pod", one.Pod)
	w.WriteHeader(status)
	if size, err := strconv.Atoi(query.Get("size")); err == nil {
		_, _ = io.WriteString(w, strings.Repeat("x", size))
		return
	}
	_ = json.NewEncoder(w).Encode(said)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "backend:", err)
	os.Exit(1)
}
