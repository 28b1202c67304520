//! Backends that show a certificate instead of sending a key, over real TLS. P5.2.

mod support;

use pushline::client::backend::{Backend, Error, Identity};
use pushline::config::Config;
use pushline::model::id::{KeyId, TenantId};
use pushline::wire::pb;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use support::{Gateway, soon, to_user};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

/// What a backend shows, and what it is known by.
fn certificate(authority: &Authority) -> (Identity, String) {
    let mut params = CertificateParams::new(vec!["shop".to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let made = params.signed_by(&key, authority).expect("a certificate");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, made.der());
    let fingerprint = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let identity = Identity::Certificate { chain: made.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
    (identity, fingerprint)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(refusal)) => refusal.name,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_key_once_the_operator_says_so_and_until_he_takes_it_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, stranger) = (authority(), authority());
    let path = folder.path().join("clients.pem");
    std::fs::write(&path, authority.pem()).expect("written");
    let gateway = Gateway::start_with(|config: &mut Config| {
        config.tls.backend = true;
        config.tls.client_ca = Some(path);
    })
    .await;
    let url = format!("https://{}", gateway.backend);
    let connect = async |identity: &Identity| Backend::connect_as(&url, identity, Some(&gateway.ca)).await;
    let (identity, fingerprint) = certificate(&authority);
    let backend = soon("a connection", connect(&identity)).await.expect("a certificate of the right CA");
    assert_eq!(refusal(backend.push(to_user("ada", "x")).await), "invalid_credentials", "of nobody yet");

    let operator = gateway.operator().await;
    let request = pb::CreateKeyRequest {
        tenant: "default".into(),
        scopes: vec!["push".into()],
        certificate_sha256: fingerprint,
        ..Default::default()
    };
    let made = soon("a key", operator.create_key(request)).await.expect("a key");
    assert!(made.secret.is_empty(), "the certificate is the secret");
    soon("a push", backend.push(to_user("ada", "x"))).await.expect("the certificate is a key");
    assert_eq!(refusal(backend.webhooks().await), "scope_missing");

    // Another certificate of the same CA is nobody, one of another CA is not let in.
    let other = soon("a connection", connect(&certificate(&authority).0)).await.expect("let in");
    assert_eq!(refusal(other.push(to_user("ada", "x")).await), "invalid_credentials");
    let forged = connect(&certificate(&stranger).0).await;
    let is_cut = match forged {
        Err(Error::Unreachable { .. } | Error::Unanswered(_)) => true,
        // The end of a TLS 1.3 handshake may be heard of only with the first call.
        Ok(forged) => matches!(forged.push(to_user("ada", "x")).await, Err(Error::Unanswered(_))),
        Err(_) => false,
    };
    assert!(is_cut, "a certificate of another CA was let in");

    // Who shows none brings a key; who does both is who has the key.
    let keyed = soon("a connection", connect(&Identity::Key(gateway.other_key.clone()))).await.expect("let in");
    soon("a push", keyed.push(to_user("ada", "x"))).await.expect("a key is good without a certificate");
    let bare = soon("a connection", connect(&Identity::Key(String::new()))).await.expect("let in");
    assert_eq!(refusal(bare.push(to_user("ada", "x")).await), "missing_credentials");

    let (tenant, id) = (TenantId::new("default").expect("a name"), made.key.expect("it").id);
    let id = KeyId::new(&id).expect("an id");
    assert!(soon("a removal", operator.remove_key(&tenant, &id)).await.expect("it"));
    let refused = soon("an answer", backend.push(to_user("ada", "x"))).await;
    assert_eq!(refusal(refused), "invalid_credentials", "on the same connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authorities_nobody_is_asked_for_a_certificate() {
    let gateway = Gateway::start_with(|config: &mut Config| config.tls.backend = true).await;
    let (identity, _) = certificate(&authority());
    let url = format!("https://{}", gateway.backend);
    let backend = soon("a connection", Backend::connect_as(&url, &identity, Some(&gateway.ca))).await.expect("let in");
    assert_eq!(refusal(backend.push(to_user("ada", "x")).await), "missing_credentials");
}
