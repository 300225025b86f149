package main

import (
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func serveGRPC(one pod, listener net.Listener) {
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	fail(server.Serve(listener))
}
