package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load ADDRESS HOST REQUESTS CLIENTS [PAUSE]: sends GET and POST in turn over kept connections, at least so many and until its standard input ends;
// tells how many failed, and how. Each client waits PAUSE before each request.
func load(arguments []string) {
	address, host := arguments[0], arguments[1]
	requests, _ := strconv.ParseInt(arguments[2], 10, 64)
	clients, _ := strconv.Atoi(arguments[3])
	var pause time.Duration
	if len(arguments) > 4 {
		pause, _ = time.ParseDuration(arguments[4])
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var sent atomic.Int64
	var over atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	var mutex sync.Mutex
	failures := map[string]int{}
	pods := map[string]bool{}
	var times []time.Duration
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for {
				time.Sleep(pause)
				number := sent.Add(1)
				if number > requests && over.Load() {
					return
				}
				began := time.Now()
				failure, pod := once(client, address, host, number)
				mutex.Lock()
				times = append(times, time.Since(began))
				if failure != "" {
					failures[failure]++
				} else {
					pods[pod] = true
				}
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	failed := 0
	for _, count := range failures {
		failed += count
	}
	sort.Slice(times, func(one, other int) bool { return times[one] < times[other] })
	requests = int64(len(times))
	fmt.Printf("requests %d failed %d pods %d p50 %v p99 %v max %v\n", requests, failed, len(pods), times[len(times)/2], times[len(times)*99/100], times[len(times)-1])
	for failure, count := range failures {
		fmt.Printf("%6d %s\n", count, failure)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func once(client *http.Client, address, host string, number int64) (string, string) {
	method, body := http.MethodGet, []byte(nil)
	if number%2 == 0 {
		method, body = http.MethodPost, bytes.Repeat([]byte("x"), 232)
	}
	request, _ := http.NewRequest(method, "http://"+address+"/", bytes.NewReader(body))
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		return method + " " + err.Error(), ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return method + " " + err.Error(), ""
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s %d %.80q", method, response.StatusCode, text), ""
	}
	return "", response.Header.Get("X-Pod")
}
