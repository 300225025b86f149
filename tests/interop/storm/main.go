// A client of Go's net/http over HTTP/2 whose deadlines are shorter than its upstream is slow: each second request of ROUNDS
// times 100 on one connection is given up after 100 ms. Prints how many of the others were not answered.
//
//	storm https://a.test:PORT/ CA ROUNDS
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	rounds, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "localhost"},
		ForceAttemptHTTP2: true,
		MaxConnsPerHost:   1,
	}}
	var lost, answered atomic.Int64
	for range rounds {
		var group sync.WaitGroup
		for at := range 100 {
			group.Add(1)
			go func() {
				defer group.Done()
				patience := 10 * time.Second
				if at%2 == 1 {
					patience = 100 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				request, _ := http.NewRequestWithContext(ctx, "GET", os.Args[1], nil)
				response, err := client.Do(request)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				switch {
				case at%2 == 1:
				case err != nil || response.StatusCode != 200:
					lost.Add(1)
				default:
					answered.Add(1)
				}
			}()
		}
		group.Wait()
	}
	fmt.Printf("%d answered, %d lost\n", answered.Load(), lost.Load())
	if lost.Load() > 0 {
		os.Exit(1)
	}
}
