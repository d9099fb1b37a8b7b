"""The language server: answers are computed from a `Document`, one file per request; `server` speaks the protocol."""
