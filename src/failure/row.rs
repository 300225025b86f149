//! What one row of the table of failures says.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The status that the client gets; 499 is logged only, and so is every status once a head went out.
    pub status: u16,
    /// The status of gRPC (0 to 16) that a client of gRPC gets: the one that its libraries derive from the HTTP status,
    /// except for timeouts, for which gRPC has a status.
    pub grpc_status: u8,
    /// The stable name of the cause, without its detail.
    pub cause: &'static str,
    /// The error token of RFC 9209 §2.3, empty where none is sent.
    pub token: &'static str,
    /// What is done about it.
    pub handling: Handling,
    /// What happened, as one sentence for the person who reads the answer.
    pub meaning: &'static str,
    /// What usually causes it.
    pub usually: &'static str,
    /// What people can do.
    pub remedy: &'static str,
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// Whose fault it is.
    pub fault: Fault,
    /// The client's connection closes: what it sends can no longer be understood, or nobody is there.
    pub closes_client: bool,
    /// No answer can reach the client, so that none is written.
    pub is_silent: bool,
    /// What `Retry-After` says, in seconds; `None` where it is not sent.
    pub retry_after_s: Option<u32>,
    /// Whether the request may be tried again.
    pub retry: RetryClass,
    /// What is known of whether the upstream saw the request.
    pub evidence: EvidenceSource,
    /// Whether it counts against the endpoint.
    pub ejection: Blame,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// This program's, its configuration's or its host's.
    Proxy,
    /// The upstream's.
    Upstream,
}

/// What a failure allows, before the request and the service are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Trying again cannot help, or nobody asks for it: no reason is recorded.
    Final,
    /// A reused connection ended before the first byte.
    Stale,
    /// No connection came about.
    Connect,
    /// A connection ended before the first byte, or while the request was sent: stale where it was reused.
    Ended,
    /// A handshake of TLS failed; with the request on its way, as a connection that ended.
    Handshake,
    /// The upstream gave the request up.
    Closed,
    /// The upstream did not take the request.
    Stalled,
    /// Where the service asks for it: the response head did not come in time.
    HeaderTimeout,
    /// Where the service asks for it: the response breaks a rule.
    BadResponse,
    /// Where the service asks for it: the status is one that it lists.
    Status,
    /// The upstream refused the request for its form, and did nothing; it goes again in another form.
    Form,
}

/// Where evidence of a request without an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceSource {
    /// There is nothing to know: no request was sent, or it was answered.
    None,
    /// Nothing of it was sent.
    Unsent,
    /// The kernel knows what was acknowledged.
    Kernel,
    /// The upstream said that it has not looked at it.
    Proof,
    /// It may have been read.
    Delivered,
}

/// Whether a failure counts against its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It is not the endpoint's.
    None,
    /// It is the endpoint's fault; a connection that succeeds shows that it is over.
    Connection,
    /// It is the endpoint's fault.
    Endpoint,
    /// It is the endpoint's fault on a new connection. An endpoint may close a reused one as it likes.
    NewConnection,
    /// It is the endpoint's fault where the service says so (`ejection.server_errors`).
    ServerError,
}
