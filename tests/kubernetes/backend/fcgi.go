package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
)

// Types of FastCGI records (FastCGI specification, section 8).
const (
	beginRequest = 1
	endRequest   = 3
	params       = 4
	stdin        = 5
	stdout       = 6
)

// serveFastCGI answers each request with the parameters that it came with: net/http/fcgi does not show all of them.
func serveFastCGI(one pod, listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go func() {
			defer connection.Close()
			in := bufio.NewReader(connection)
			for one.answerFastCGI(in, connection) {
			}
		}()
	}
}

// answerFastCGI answers one request; false where the connection is over.
func (one pod) answerFastCGI(in io.Reader, out io.Writer) bool {
	var keeps bool
	var pairs []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return false
		}
		length := int(binary.BigEndian.Uint16(head[4:6]))
		content := make([]byte, length+int(head[6]))
		if _, err := io.ReadFull(in, content); err != nil {
			return false
		}
		content = content[:length]
		switch {
		case head[1] == beginRequest:
			keeps = content[2]&1 == 1
		case head[1] == params:
			pairs = append(pairs, content...)
		case head[1] == stdin && length == 0:
			headers := http.Header{}
			for name, value, rest := pair(pairs); name != ""; name, value, rest = pair(rest) {
				headers[name] = []string{value}
			}
			only := func(name string) string { return strings.Join(headers[name], "") }
			told, _ := json.Marshal(seen{one.Service, one.Pod, only("REQUEST_METHOD"), only("REQUEST_URI"), only("HTTP_HOST"), headers, "FastCGI", ""})
			answer := append([]byte("Status: 200 OK\r\nContent-Type: application/json\r\n\r\n"), told...)
			for len(answer) > 0 {
				part := answer[:min(len(answer), 65535)]
				put(out, head[2:4], stdout, part)
				answer = answer[len(part):]
			}
			put(out, head[2:4], stdout, nil)
			put(out, head[2:4], endRequest, make([]byte, 8))
			return keeps
		}
	}
}

// pair takes a name and its value from the front; the name is empty where there is none.
func pair(bytes []byte) (name, value string, rest []byte) {
	var lengths [2]int
	for at := range lengths {
		if len(bytes) == 0 {
			return "", "", nil
		}
		if bytes[0] < 128 {
			lengths[at], bytes = int(bytes[0]), bytes[1:]
		} else if len(bytes) >= 4 {
			lengths[at], bytes = int(binary.BigEndian.Uint32(bytes)&0x7fffffff), bytes[4:]
		}
	}
	if len(bytes) < lengths[0]+lengths[1] {
		return "", "", nil
	}
	end := lengths[0] + lengths[1]
	return string(bytes[:lengths[0]]), string(bytes[lengths[0]:end]), bytes[end:]
}

func put(out io.Writer, id []byte, kind byte, content []byte) {
	head := []byte{1, kind, id[0], id[1], byte(len(content) >> 8), byte(len(content)), 0, 0}
	_, _ = out.Write(append(head, content...))
}
