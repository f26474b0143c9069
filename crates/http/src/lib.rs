//! HTTP/1.1 for a client, from bytes: responses, server-sent events, TLS, a small blocking fetch.
