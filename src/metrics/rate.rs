//! What can come too fast, as it is counted.

/// What came faster than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// A call of an API key.
    KeyCall,
    /// A push of a tenant.
    TenantPush,
    /// A request of a user.
    UserRequest,
    /// A request of a device.
    DeviceRequest,
    /// A login of a user.
    UserLogin,
    /// A login from an address.
    AddressLogin,
}

impl Limited {
    /// All of them, in the order of the enum.
    pub(super) const ALL: [Self; 6] =
        [Self::KeyCall, Self::TenantPush, Self::UserRequest, Self::DeviceRequest, Self::UserLogin, Self::AddressLogin];

    /// The label's values, in the same order.
    pub(super) fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(|what| match what {
            Self::KeyCall => "key_call",
            Self::TenantPush => "tenant_push",
            Self::UserRequest => "user_request",
            Self::DeviceRequest => "device_request",
            Self::UserLogin => "user_login",
            Self::AddressLogin => "address_login",
        })
    }
}
