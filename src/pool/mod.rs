//! Buffers by lifetime: process, connection, stream, message. It knows nothing of what the bytes mean.
