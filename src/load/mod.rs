//! A crowd of devices and backends that drives a gateway from outside and verifies what it receives. It knows the wire,
//! not the gateway.

pub mod report;
