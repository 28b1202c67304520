//! The way of a gRPC call to a generated server: content type, credentials, size, and a code on every refusal. It knows no
//! service and no message.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use tower::Service;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::rpc::fault;
use crate::rpc::intake::Intake;
use crate::rpc::rights::Rights;
use crate::wire::grpc;

/// A generated server and what its calls need. Cheap to clone.
#[derive(Clone)]
pub(super) struct Call<S> {
    /// Where keys are checked and bodies read.
    pub(super) intake: Intake,
    /// What tonic made of the service. It must take messages of `request_bytes_max` bytes.
    pub(super) server: S,
    /// Longest message of a unary call.
    pub(super) request_bytes_max: usize,
    /// What one that is longer is refused with.
    pub(super) too_large: Code,
}

impl<S> Call<S>
where
    S: Service<Request, Response = http::Response<tonic::body::Body>, Error = Infallible>,
{
    /// Reads the whole request before the handler may answer, and checks its rights.
    ///
    /// # Errors
    /// Why the call was refused before it reached its handler.
    pub(super) async fn unary<R: Rights>(mut self, request: Request) -> Result<Response, Fault> {
        if !is_grpc(&request) {
            self.intake.drain(request.into_body()).await;
            return Ok(not_grpc());
        }
        let (mut parts, body) = request.into_parts();
        let limit = self.request_bytes_max + grpc::PREFIX_BYTES;
        let (rights, body) = self.intake.read::<R>(&parts, body, limit, self.too_large).await?;
        parts.extensions.insert(rights);
        Ok(self.pass_on(Request::from_parts(parts, Body::from(body))).await)
    }

    /// Checks its rights, and lets the handler read the requests of a stream as they come.
    ///
    /// # Errors
    /// Why the call was refused before it reached its handler.
    pub(super) async fn streaming(mut self, request: Request) -> Result<Response, Fault> {
        if !is_grpc(&request) {
            self.intake.drain(request.into_body()).await;
            return Ok(not_grpc());
        }
        let (mut parts, body) = request.into_parts();
        match Caller::of(&self.intake.node, &parts) {
            Ok(caller) => {
                parts.extensions.insert(caller);
                Ok(self.pass_on(Request::from_parts(parts, body)).await)
            }
            Err(fault) => {
                self.intake.drain_stream(body).await;
                Err(fault)
            }
        }
    }

    async fn pass_on(&mut self, request: Request) -> Response {
        let Ok(response) = self.server.call(request).await;
        fault::complete(response.map(Body::new), self.too_large)
    }
}

/// Whether a request is meant for gRPC, so that a refusal must be one of gRPC too.
pub(super) fn is_grpc(request: &Request) -> bool {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(given.split(';').next().unwrap_or_default().trim(), "application/grpc" | "application/grpc+proto")
}

/// A refusal of a whole call.
pub(super) fn refusal(fault: &Fault) -> Response {
    fault::to_status(fault).into_http()
}

/// The rights that were found before the message was decoded.
pub(super) fn rights<R: Rights, T>(request: &tonic::Request<T>) -> Result<R, tonic::Status> {
    let missing = || fault::to_status(&Fault::new(Code::Internal, "the call reached its handler without rights"));
    request.extensions().get().cloned().ok_or_else(missing)
}

/// The backend that calls.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, tonic::Status> {
    rights(request)
}

/// The gRPC specification asks for HTTP status 415 here.
fn not_grpc() -> Response {
    fault::to_response(&Fault::new(Code::UnsupportedMediaType, "call this method with content-type application/grpc"))
}
