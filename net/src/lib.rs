//! The edge: TLS, TCP wire, HTTP listener, client. Async lives here and in bins only
