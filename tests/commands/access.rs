//! `key`, `tenant`, `token`, `share`, `enrol`, `login`, `audit`, `node`.

use std::os::unix::fs::PermissionsExt;

use pushline::client::Client;
use pushline::model::id::NodeName;
use serde_json::json;

use super::support::http::Json;
use super::support::{self, Gateway};
use super::terminal::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_rotated_and_removed() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let operator = Json::new(gateway.admin, &gateway.admin_key());
    let made = terminal.object(&["key", "create", "--scope", "push,read", "--ttl", "90days", "--note", "orders"]);
    let (id, secret) = (made["key"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(made["key"]["scopes"], json!(["push", "read"]));
    let keys = operator.call("GET /v1/tenants/default/keys").await.json();
    assert_eq!(json!(terminal.objects(&["key", "list"])), keys["keys"]);
    let listed = terminal.says(&["key", "list"]);
    assert!(listed.lines().next().unwrap().starts_with("key ") && listed.ends_with("2 keys\n"), "{listed}");
    assert!(listed.contains("push, read") && listed.contains("secret, fixed") && !listed.contains(secret), "{listed}");

    // It may what it may, and no more.
    terminal.says(&["push", "--key", secret, "--user", "ada", "hi"]);
    assert_eq!(terminal.refused(&["group", "create", "g", "--key", secret]), "scope_missing");

    let again = terminal.object(&["key", "rotate", id, "--overlap", "0s"]);
    assert_eq!(terminal.refused(&["push", "--key", secret, "--user", "ada", "hi"]), "invalid_credentials");
    let secret = again["secret"].as_str().unwrap();
    terminal.says(&["push", "--key", secret, "--user", "ada", "hi"]);
    let said = terminal.run(&["key", "rotate", id]);
    assert!(said.out.contains("old secret  good until 20") && said.err.contains("shown this once"), "{said:?}");
    assert!(terminal.says(&["key", "remove", id]).contains("is refused from now on"));
    assert!(terminal.says(&["key", "remove", id]).contains("there was no key"));
    assert_eq!(terminal.refused(&["push", "--key", secret, "--user", "ada", "hi"]), "invalid_credentials");

    assert_eq!(terminal.refused(&["key", "rotate", id]), "key_not_found");
    assert_eq!(terminal.refused(&["key", "create", "--ttl", "1s"]), "invalid_option");
    assert_eq!(terminal.refused(&["key", "list", "--tenant", "nobody"]), "tenant_not_found");
    assert_eq!(terminal.refused(&["key", "list", "--admin-key", "no"]), "invalid_credentials");
    let words = terminal.fails(&["key", "list", "--admin-key", &gateway.key], 1);
    assert!(words.contains("the admin key is in auth/admin-key of the gateway's data folder"), "{words}");
    let words = terminal.fails(&["key", "list", "--admin", "http://127.0.0.1:1"], 1);
    assert!(words.contains("--admin names another"), "{words}");
    terminal.fails(&["key", "create", "--scope", "write"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_made_changed_suspended_and_revoked() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let operator = Json::new(gateway.admin, &gateway.admin_key());
    let said = terminal.says(&["tenant", "create", "shop", "--limit", "connections=10", "--limit", "pushes=600/min"]);
    assert!(said.contains("  limits  connections 10\n          pushes 600/min\n"), "{said}");
    assert!(said.contains("login   only with tokens"), "{said}");
    assert_eq!(terminal.object(&["tenant", "show", "shop"]), operator.call("GET /v1/tenants/shop").await.json());
    let jwt = ["--jwt-issuer", "https://id.example", "--jwt-audience", "push,app", "--jwt-attribute", "plan=tier"];
    let shop = terminal.object(&[&["tenant", "update", "shop", "--device-key"][..], &jwt].concat());
    assert_eq!(shop["limits"]["connections"], 10, "what is not named stays");
    assert_eq!(
        (&shop["login"]["jwt"]["audiences"], &shop["login"]["device_key"]),
        (&json!(["push", "app"]), &json!(true))
    );
    let said =
        terminal.says(&["tenant", "update", "shop", "--limit", "connections=none", "--no-jwt", "--token-ttl", "30min"]);
    assert!(said.contains("login   keys of devices\n") && said.contains("tokens  live 30m"), "{said}");
    assert!(!said.contains("connections"), "{said}");
    let ran = terminal.run(&["tenant", "update", "shop", "--business", "http://127.0.0.1:9/login"]);
    assert!(ran.out.contains("secret  whsec_") && ran.err.contains("shown this once"), "{ran:?}");
    let said = terminal.says(&["tenant", "show", "shop"]);
    assert!(said.contains("business server http://127.0.0.1:9/login") && !said.contains("whsec_"), "{said}");

    let tenants = operator.call("GET /v1/tenants").await.json();
    assert_eq!(json!(terminal.objects(&["tenant", "list"])), tenants["tenants"]);
    let key = terminal.object(&["key", "create", "--tenant", "shop"])["secret"].as_str().unwrap().to_owned();
    terminal.says(&["group", "list", "--key", &key]);
    assert!(terminal.says(&["tenant", "suspend", "shop"]).contains("state   suspended"));
    assert_eq!(terminal.refused(&["group", "list", "--key", &key]), "tenant_suspended");
    let listed = terminal.says(&["tenant", "list"]);
    assert!(listed.contains("shop     suspended  20") && listed.ends_with("3 tenants\n"), "{listed}");
    assert!(terminal.says(&["tenant", "resume", "shop"]).contains("state   active"));
    terminal.says(&["group", "list", "--key", &key]);
    let said = terminal.says(&["tenant", "revoke", "shop"]);
    assert_eq!(said, "revoked: all tokens of shop until now; 0 sessions ended\n");

    assert_eq!(terminal.refused(&["tenant", "create", "shop"]), "tenant_exists");
    let words = terminal.fails(&["tenant", "show", "nobody"], 1);
    assert!(words.contains("`pushline tenant list` shows all"), "{words}");
    assert!(terminal.fails(&["tenant", "update", "shop"], 1).contains("nothing to change"));
    assert!(terminal.fails(&["tenant", "update", "shop", "--jwt-leeway", "5s"], 1).contains("--jwt-issuer"));
    terminal.fails(&["tenant", "update", "shop", "--limit", "connection=1"], 2);

    // Who did it, in all tenants and in one.
    let log = operator.call("GET /v1/audit?limit=1000").await.json();
    assert_eq!(json!(terminal.objects(&["tenant", "audit"])), log["events"]);
    let said = terminal.says(&["tenant", "audit", "--limit", "2"]);
    assert!(
        said.contains("shop    20") && said.contains("tenant.created") && said.contains("; more with --after"),
        "{said}"
    );
    let own = terminal.says(&["audit", "--key", &key]);
    assert!(own.contains("admin  tenant.created") && own.contains("key.created"), "{own}");
    assert_eq!(terminal.says(&["audit"]), "0 events\n", "nothing was done in this tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_looked_at_and_taken_back() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let data = gateway.data().to_str().unwrap();
    let who = ["--user", "ada", "--device", "phone", "--data", data];
    // With and without the word.
    let made = terminal.object(&[&["token"][..], &who].concat());
    let again = terminal.object(&[&["token", "issue"][..], &who].concat());
    assert_ne!(made["id"], again["id"]);
    let token = made["token"].as_str().unwrap();
    let seen = terminal.object(&["token", "inspect", token, "--data", data]);
    assert_eq!((&seen["good"], &seen["kind"], &seen["user"]), (&json!(true), &json!("access"), &json!("ada")));
    assert_eq!((&seen["id"], &seen["expires_at_ms"]), (&made["id"], &made["expires_at_ms"]));
    let ran = terminal.run_with(&["token", "inspect", "-", "--data", data], token);
    assert!(ran.code == 0 && ran.out.starts_with("good, unless it was revoked\n  kind     access\n"), "{ran:?}");
    assert!(!ran.out.contains(token) && !ran.err.contains(token), "{ran:?}");
    let ran = terminal.run(&["token", "inspect", &token[..token.len() - 4], "--data", data]);
    assert!(ran.code == 1 && ran.out.starts_with("not good: the token is not valid"), "{ran:?}");
    let words = terminal.fails(&["token", "inspect", token, "--data", "elsewhere"], 1);
    assert!(
        words.contains("name the gateway's data folder") && !terminal.folder().join("elsewhere").exists(),
        "{words}"
    );

    // A session ends, and its token is good no more.
    let id = made["id"].as_str().unwrap();
    let _other = gateway.client("ada", "tablet").await;
    let said = terminal.says(&["token", "revoke", "--user", "ada", "--device", "tablet"]);
    assert_eq!(said, "revoked: all tokens of ada/tablet until now; 1 session ended\n");
    let expected = format!("revoked: the token {id}; 0 sessions ended\n");
    assert_eq!(terminal.says(&["token", "revoke", "--id", id]), expected);
    let words = terminal.fails(&["listen", "--ca", "ca.pem", "--token", token], 1);
    assert!(words.contains("revoked_token"), "{words}");
    assert_eq!(terminal.object(&["token", "revoke", "--user", "ada"]), json!({ "sessions": 0 }));
    assert_eq!(terminal.object(&["token", "revoke", "--all"]), json!({ "sessions": 0 }));
    for arguments in [&["token"][..], &["token", "issue", "--user", "ada"], &["token", "revoke"]] {
        terminal.fails(arguments, 2);
    }
    for more in [&["--all", "--user", "ada"][..], &["--device", "phone"], &["--id", "7"]] {
        terminal.fails(&[&["token", "revoke"][..], more].concat(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_shared_with_viewers() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    // Nobody has pushed to the topics yet: the first push comes all the same, and at once.
    let made = terminal.object(&["share", "create", "scores", "news", "--viewers", "5", "--note", "the final"]);
    let (token, id) = (made["token"].as_str().unwrap(), made["share"]["id"].as_str().unwrap());
    let mut viewer = {
        let options = support::client_options(gateway.devices, &gateway.ca, token.to_owned());
        support::soon("a viewer's session", Client::connect(options)).await.expect("a session")
    };
    terminal.says(&["push", "--topic", "scores", "1:0"]);
    assert_eq!(support::text(&support::next(&mut viewer).await), "1:0");
    let listed = terminal.says(&["share", "list"]);
    assert!(listed.contains("scores, news  the final") && listed.ends_with("1 share\n"), "{listed}");
    assert_eq!(json!(terminal.objects(&["share", "list"])), terminal.twin("/v1/shares").await["shares"]);
    let data = gateway.data().to_str().unwrap();
    let seen = terminal.object(&["token", "inspect", token, "--data", data]);
    assert_eq!((&seen["kind"], &seen["share"]), (&json!("share"), &json!(id)));
    assert_eq!(terminal.says(&["share", "revoke", id]), format!("revoked: {id}; 1 viewer told to end\n"));
    assert_eq!(terminal.refused(&["share", "revoke", id]), "share_not_found");
    let ran = terminal.run(&["share", "create", "scores", "--ttl", "1h"]);
    assert!(ran.out.contains("viewers  at most 100 at once") && ran.err.contains("shown this once"), "{ran:?}");
    assert_eq!(terminal.refused(&["share", "create", "scores", "--ttl", "0s"]), "invalid_option");
    terminal.fails(&["share", "create"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_enrols_a_key_and_logs_in_with_it() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let login = |more: &[&'static str]| [&["login", "--ca", "ca.pem"][..], more].concat();
    terminal.says(&["tenant", "update", "default", "--device-key"]);
    let ran = terminal.run(&["enrol", "ada"]);
    assert!(ran.code == 0 && ran.err.contains("good once, until 20"), "{ran:?}");
    let enrol = ["--device", "phone", "--key-file", "phone.key", "--enrol", ran.out.trim_end()];
    let enrol = [&["login", "--ca", "ca.pem"][..], &enrol].concat();
    let ran = terminal.run(&enrol);
    assert!(ran.code == 0 && ran.err.contains("the key is in phone.key"), "{ran:?}");
    let file = terminal.folder().join("phone.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(terminal.fails(&enrol, 1).contains("phone.key is there already"));

    let told = terminal.object(&login(&["--key-file", "phone.key"]));
    assert_eq!((&told["user"], &told["device"]), (&json!("ada"), &json!("phone")));
    terminal.says(&["push", "--user", "ada", "hi"]);
    let token = told["token"].as_str().unwrap();
    let heard = terminal.says(&["listen", "--ca", "ca.pem", "--token", token, "--count", "1"]);
    assert!(heard.contains("hi"), "{heard}");

    // A code is good once, and a login that failed leaves no file.
    let mut again = enrol.clone();
    again[6] = "other.key";
    assert_eq!(terminal.refused(&again), "login_refused");
    assert!(!terminal.folder().join("other.key").exists());
    assert_eq!(terminal.refused(&login(&["--device", "phone", "--jwt", "x.y.z"])), "login_refused");
    assert_eq!(terminal.refused(&login(&["--device", "phone", "--credential", "x"])), "login_refused");
    let other = login(&["--device", "tablet", "--key-file", "phone.key"]);
    assert!(terminal.fails(&other, 1).contains("is the key of the device phone"));
    std::fs::write(&file, "secret").unwrap();
    let words = terminal.fails(&login(&["--key-file", "phone.key"]), 1);
    assert!(words.contains("is no key file") && !words.contains("secret"), "{words}");
    for more in [&["--device", "phone"][..], &["--jwt", "x"], &["--device", "d", "--enrol", "c"]] {
        terminal.fails(&login(more), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_set_and_found() {
    let gateway = Gateway::start_with(|config| {
        config.cluster.name = Some(NodeName::new("north").unwrap());
        config.cluster.nodes = ["north 127.0.0.1:1", "south 127.0.0.1:2"].map(|node| node.parse().unwrap()).into();
    })
    .await;
    let terminal = Terminal::new(&gateway);
    let operator = Json::new(gateway.admin, &gateway.admin_key());
    let nodes = operator.call("GET /v1/nodes").await.json();
    assert_eq!(json!(terminal.objects(&["node", "list"])), nodes["nodes"]);
    let listed = terminal.says(&["node", "list"]);
    assert!(listed.contains("takes devices, answers") && listed.lines().count() == 3, "{listed}");
    assert!(terminal.says(&["node", "set", "north", "--drain"]).contains("draining, answers"));
    let said = terminal.says(&["node", "assignment", "ada", "phone"]);
    assert_eq!(said, "127.0.0.1:2\nby weight alone\n");
    let node = terminal.object(&["node", "set", "north", "--drain=false", "--weight", "7"]);
    assert_eq!((&node["weight"], &node["draining"]), (&json!(7), &json!(false)));
    let words = terminal.fails(&["node", "set", "west", "--drain"], 1);
    assert!(words.contains("node_not_found") && words.contains("`pushline node list` shows all"), "{words}");
    for more in [&["north"][..], &["north", "--weight", "1001"]] {
        terminal.fails(&[&["node", "set"][..], more].concat(), 2);
    }
}
