//! What is asked at every request, in memory: tenants, keys, revocations, shares.
