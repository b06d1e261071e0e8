//! A gate answers as docs/openapi.json says: every call of it, with every status that can be brought about.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::by_hand::By;
use super::certificate::{Authority, TOKEN, write};
use super::gate::{Gate, Setup};
use super::harness::soon;
use super::role::READ_TOKEN;
use super::upstream::Upstream;
use super::wire::get;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");
/// Answers that need a full disk, a stopping gate or hundreds of connections.
const NOT_TRIED: [&str; 2] = ["500", "503"];
const HOLD: &str = "POST /v1/apps/{app}/hold";

/// The document, and which answers of it have been seen.
struct Described {
    document: Value,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Described {
    fn new() -> Self {
        let document = serde_json::from_str(DOCUMENT).unwrap();
        Self { document, seen: RefCell::default() }
    }

    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(pointer) => self.document.pointer(pointer.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    fn operation(&self, call: &str) -> &Value {
        let (method, path) = call.split_once(' ').unwrap();
        &self.document["paths"][path][method.to_lowercase()]
    }

    /// What was asked and answered is described.
    fn check(&self, call: &str, asked: &str, answer: &Answer) {
        let at = format!("{call} {}: {}", answer.status, answer.body);
        let operation = self.operation(call);
        let described = self.follow(&operation["responses"][answer.status.as_str()]);
        assert!(described.is_object(), "{at}");
        let content = &described["content"][answer.content_type.as_str()];
        assert!(content.is_object(), "{}: {at}", answer.content_type);
        if answer.content_type == "text/event-stream" {
            self.check_events(&content["schema"]["x-events"], &answer.body);
        } else {
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            self.check_value(&content["schema"], &body, &at);
            if answer.status != "200" {
                let codes = described["x-codes"].as_array().unwrap();
                assert!(codes.contains(&body["code"]), "{at}");
                assert_eq!(body["status"].to_string(), answer.status, "{at}");
            }
        }
        let takes = &operation["requestBody"]["content"]["application/json"]["schema"];
        if answer.status == "200" && takes.is_object() {
            self.check_value(takes, &serde_json::from_str(asked).unwrap(), &at);
        }
        self.seen.borrow_mut().insert((call.to_owned(), answer.status.clone()));
    }

    fn check_events(&self, kinds: &Value, body: &str) {
        let mut count = 0;
        for message in body.split("\n\n").filter(|message| message.contains("data:")) {
            let field = |name| message.lines().find_map(|line| line.split_once(name)).unwrap().1;
            let data = serde_json::from_str(field("data: ")).unwrap();
            self.check_value(&kinds[field("event: ")], &data, message);
            count += 1;
        }
        assert!(count > 0, "{body}");
    }

    /// As much of JSON Schema as the document has. What it does not name is not there either.
    fn check_value(&self, schema: &Value, value: &Value, at: &str) {
        self.try_value(schema, value).unwrap_or_else(|why| panic!("{why}: {at}"));
    }

    fn try_value(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (word, wanted) in self.follow(schema).as_object().unwrap() {
            let fits = match word.as_str() {
                "type" => {
                    let kinds = wanted.as_array().cloned().unwrap_or(vec![wanted.clone()]);
                    kinds.iter().any(|kind| is(kind, value))
                }
                "const" => value == wanted,
                "enum" => wanted.as_array().unwrap().contains(value),
                "minimum" => value.is_null() || value.as_f64() >= wanted.as_f64(),
                "maximum" => value.is_null() || value.as_f64() <= wanted.as_f64(),
                "items" => {
                    let mut values = value.as_array().into_iter().flatten();
                    values.try_for_each(|value| self.try_value(wanted, value))?;
                    true
                }
                "required" => {
                    let names = wanted.as_array().unwrap().iter();
                    names.map(|name| name.as_str().unwrap()).all(|name| value.get(name).is_some())
                }
                "properties" => self.try_properties(wanted, value)?,
                "anyOf" | "oneOf" => {
                    let each = wanted.as_array().unwrap().iter();
                    each.filter(|schema| self.try_value(schema, value).is_ok()).count() == 1
                }
                "description" | "format" | "default" | "additionalProperties" => true,
                unknown => panic!("{unknown} is not looked at"),
            };
            if !fits {
                return Err(format!("{value} is not {word} {wanted}"));
            }
        }
        Ok(())
    }

    fn try_properties(&self, properties: &Value, value: &Value) -> Result<bool, String> {
        for (name, value) in value.as_object().into_iter().flatten() {
            let schema = properties.get(name).ok_or_else(|| format!("{name} is not described"))?;
            self.try_value(schema, value)?;
        }
        Ok(true)
    }

    /// Every answer of every call.
    fn described(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().unwrap();
        let mut all = BTreeSet::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    all.insert((format!("{} {path}", method.to_uppercase()), status.clone()));
                }
            }
        }
        all
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        unknown => panic!("{unknown} is not looked at"),
    }
}

struct Answer {
    status: String,
    content_type: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: "));
        Self { status, content_type: content_type.unwrap().to_owned(), body: dechunked(body) }
    }
}

/// Chunks of an event stream begin with a line of their own.
fn dechunked(body: &str) -> String {
    body.replace("\r\n", "\n").trim_end_matches("0\n\n").to_owned()
}

fn request(line: &str, further: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nhost: a\r\n{further}content-length: {length}\r\n\r\n{body}")
}

/// A gate with every way to call it, and an app that a warm-up asks for.
struct Stage {
    described: Described,
    upstream: Upstream,
    gate: Gate,
    authority: Authority,
}

impl Stage {
    async fn start() -> Self {
        let authority = Authority::new();
        authority.issue("gate", "127.0.0.1", false);
        let read = authority.path("read-token");
        write(&read, READ_TOKEN);
        let upstream = Upstream::start().await;
        let warm_up = "warm_up = { path = \"/up\", host = \"shop\", timeout = \"5s\" }";
        let lines = authority.serving("127.0.0.1:0", "gate");
        let setup = Setup::default()
            .app("shop", "*", &upstream, warm_up)
            .app("gone", "gone.example.com", "127.0.0.1:1", warm_up)
            .gate(&lines)
            .gate(&format!("admin_read_token_file = {read:?}"));
        let directory = super::gate::directory();
        let audit = format!("audit_log = {:?}", directory.path().join("audit.log"));
        let gate = setup.gate(&audit).start_in(directory).await;
        Self { described: Described::new(), upstream, gate, authority }
    }

    /// By the socket. `call` is as the document has it.
    async fn call(&self, call: &str, app: &str, asked: &str) -> Value {
        let line = call.replace("{app}", app);
        let mut stream = UnixStream::connect(self.gate.socket()).await.unwrap();
        let request = request(&line, "connection: close\r\n", asked);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        let answer = Answer::parse(&answer);
        self.described.check(call, asked, &answer);
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn by_tcp(&self, from: u8, call: &str, token: &str) {
        let from = Ipv4Addr::new(127, 0, 0, from);
        let address = self.gate.admin_address().await;
        let by = By { from, ..By::nobody(&self.authority, address) };
        let further = format!("connection: close\r\nauthorization: Bearer {token}\r\n");
        let answer = by.ask(&request(&call.replace("{app}", "shop"), &further, "{}")).await;
        self.described.check(call, "{}", &Answer::parse(&answer));
    }

    /// The beginning of the stream, with a hold in it.
    async fn events(&self) {
        let mut stream = UnixStream::connect(self.gate.socket()).await.unwrap();
        let call = "GET /v1/events";
        stream.write_all(request(call, "", "").as_bytes()).await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        let held = self.gate.hold("shop").await;
        self.gate.release("shop", held.generation).await;
        let mut answer = head.to_vec();
        while !String::from_utf8_lossy(&answer).contains("released") {
            soon("an event", stream.read_buf(&mut answer)).await.unwrap();
        }
        self.described.check(call, "", &Answer::parse(&String::from_utf8(answer).unwrap()));
    }

    /// A method that no path takes.
    async fn wrong_method(&self, call: &str) {
        let line = call.replace("{app}", "shop").replace("GET", "PUT").replace("POST", "PUT");
        let mut stream = UnixStream::connect(self.gate.socket()).await.unwrap();
        let request = request(&line, "connection: close\r\n", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        self.described.check(call, "", &Answer::parse(&answer));
    }
}

async fn holds(stage: &Stage) {
    let renew = "POST /v1/apps/{app}/renew";
    let release = "POST /v1/apps/{app}/release";
    let held = stage.call(HOLD, "shop", r#"{"holder":"ann","reason":"","lease_ms":20000}"#).await;
    stage.call(HOLD, "shop", r#"{"holder":"bob"}"#).await;
    let generation = format!("{{\"generation\":{}}}", held["generation"]);
    stage.call(renew, "shop", &generation).await;
    stage.call("GET /v1/status", "", "").await;
    stage.call("GET /v1/apps", "", "").await;
    stage.call(release, "shop", &generation).await;
    stage.call(renew, "shop", &generation).await;
    stage.call(release, "shop", &generation).await;
    let slow = tokio::spawn(get(stage.gate.address, "/slow"));
    stage.upstream.until_arrived(1).await;
    let refused = stage.call(HOLD, "shop", r#"{"holder":"ann","drain_ms":20}"#).await;
    assert_eq!(refused["stragglers"].as_array().unwrap().len(), 1);
    stage.upstream.let_go(1);
    assert_eq!(slow.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_gate_answers_as_the_document_says() {
    let stage = Stage::start().await;
    let document = stage.call("GET /v1/openapi.json", "", "").await;
    assert_eq!(document, stage.described.document);
    holds(&stage).await;
    stage.events().await;
    let warm_up = "POST /v1/apps/{app}/warm_up";
    stage.call(warm_up, "shop", "{}").await;
    // Two at once, each of which would take its time: whichever comes second is told so.
    let long = r#"{"timeout_ms":1000}"#;
    tokio::join!(stage.call(warm_up, "gone", long), stage.call(warm_up, "gone", long));
    let long = "x".repeat(20_000);
    for (call, _) in stage.described.described().into_iter().filter(|(_, status)| status == "404") {
        stage.call(&call, "shop", "[").await;
        stage.call(&call, "nope", "{}").await;
        stage.call(&call, "shop", &long).await;
    }
    let calls: BTreeSet<String> =
        stage.described.described().into_iter().map(|(call, _)| call).collect();
    for (number, call) in (10_u8..).zip(&calls) {
        stage.wrong_method(call).await;
        stage.by_tcp(number, call, READ_TOKEN.get(1..).unwrap()).await;
    }
    for _ in 0..10 {
        stage.by_tcp(9, "GET /v1/status", "wrong").await;
    }
    for call in &calls {
        stage.by_tcp(9, call, TOKEN).await;
        if call.starts_with("POST") {
            stage.by_tcp(8, call, READ_TOKEN).await;
        }
    }
    let tried = |answer: &(String, String)| {
        let (call, status) = answer;
        // Whoever is known may read, unless by a certificate that names nobody: tests/it/role.rs.
        let reads = call.starts_with("GET") && status == "403";
        // Of a predecessor that does not do as it is told.
        let is_led = call == HOLD && status == "502";
        !NOT_TRIED.contains(&status.as_str()) && !reads && !is_led
    };
    let wanted: BTreeSet<_> = stage.described.described().into_iter().filter(tried).collect();
    let seen = stage.described.seen.borrow();
    let missing: Vec<_> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
