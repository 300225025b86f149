package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// serveGRPC answers health checks, and every other method with what it saw, once the time in x-delay is over.
func serveGRPC(one pod, listener net.Listener) {
	options := []grpc.ServerOption{grpc.UnknownServiceHandler(one.say)}
	if one.Cert != "" {
		identity, err := credentials.NewServerTLSFromFile(one.Cert, one.Key)
		if err != nil {
			fail(err)
		}
		options = append(options, grpc.Creds(identity))
	}
	server := grpc.NewServer(options...)
	checks := health.NewServer()
	checks.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	fail(server.Serve(listener))
}

func (one pod) say(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	fields, _ := metadata.FromIncomingContext(stream.Context())
	if delays := fields.Get("x-delay"); len(delays) > 0 {
		if delay, err := time.ParseDuration(delays[0]); err == nil {
			select {
			case <-time.After(delay):
			case <-stream.Context().Done():
			}
		}
	}
	headers := http.Header{}
	for name, values := range fields {
		headers[name] = values
	}
	method, _ := grpc.MethodFromServerStream(stream)
	host := strings.Join(fields.Get(":authority"), "")
	told, err := json.Marshal(seen{one.Service, one.Pod, http.MethodPost, method, host, headers, "HTTP/2.0", ""})
	if err != nil {
		return err
	}
	return stream.SendMsg(wrapperspb.String(string(told)))
}

// A call that somebody wants made: {"address": "127.0.0.1:443", "tls": true, "host": "a.test", "method": "lab.Echo/Say", "headers": {}}.
type wanted struct {
	Address string            `json:"address"`
	TLS     bool              `json:"tls"`
	Host    string            `json:"host"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
}

// call makes one call, and prints its status and what the backend saw.
func call(text string) {
	var want wanted
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		fail(err)
	}
	secure := insecure.NewCredentials()
	if want.TLS {
		// The certificate is no matter of this.
		secure = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: want.Host})
	}
	connection, err := grpc.NewClient("passthrough:///"+want.Address, grpc.WithTransportCredentials(secure), grpc.WithAuthority(want.Host))
	if err != nil {
		fail(err)
	}
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), metadata.New(want.Headers)), 30*time.Second)
	defer cancel()
	var body wrapperspb.StringValue
	var reply any = &body
	if strings.HasPrefix(want.Method, "grpc.health.") {
		reply = &grpc_health_v1.HealthCheckResponse{}
	}
	err = connection.Invoke(ctx, "/"+want.Method, &emptypb.Empty{}, reply)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"status": int(status.Code(err)), "message": fmt.Sprint(err), "body": body.GetValue()})
}
