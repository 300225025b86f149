//! The proxy as its users meet it: a process, real sockets, real clients and servers, on both engines.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end the test")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test waits and shares as it likes")]
#![expect(clippy::large_stack_arrays, clippy::excessive_nesting, reason = "origins are closures in closures")]
#![expect(unreachable_pub, reason = "modules of one test program")]

#[path = "../api_server/mod.rs"]
mod api_server;
mod balances;
mod bodies;
mod browser;
mod certificates;
mod clients;
mod command_line;
mod connections;
mod early_data;
mod evidence;
mod failures;
mod fastcgi;
mod fastcgi_records;
mod filters;
mod gateways;
mod grpc_web;
mod h2;
mod health;
mod hostile;
mod kubernetes;
mod messages;
#[path = "../misbehaving/mod.rs"]
mod misbehaving;
mod neighbours;
mod outages;
mod overload;
mod process;
mod reload;
mod resources;
mod retries;
mod routing;
mod scenarios;
mod storage;
mod strangers;
mod supervision;
mod support;
mod timeouts;
mod tls;
mod tunnels;
mod upstream_tls;
mod watching;
mod whole_process;
