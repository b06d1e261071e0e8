//! docs/openapi.json has what the API has: every path, every field and every code, and no other.
//!
//! `UPDATE_EXPECT=1` writes the fields of the types of `api` into it; paths and answers are written by hand. That a running gate
//! answers so is `tests/it/openapi.rs`.

use std::collections::BTreeSet;
use std::io::Write as _;

use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::api::{
    Apps, ErrorBody, ErrorCode, Event, HoldReply, HoldRequest, Lost, ReleaseReply, ReleaseRequest,
    RenewReply, RenewRequest, Role, Status, WarmUpReply, WarmUpRequest,
};
use super::error::status_of;
use super::route::routes;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

fn document() -> Value {
    serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap()
}

fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.contract = contract;
    });
    settings.into_generator()
}

/// Of every type that goes over the wire.
fn schemas() -> Map<String, Value> {
    let mut asked = generator(Contract::Deserialize);
    asked.subschema_for::<HoldRequest>();
    asked.subschema_for::<RenewRequest>();
    asked.subschema_for::<ReleaseRequest>();
    asked.subschema_for::<WarmUpRequest>();
    let mut answered = generator(Contract::Serialize);
    answered.subschema_for::<Status>();
    answered.subschema_for::<Apps>();
    answered.subschema_for::<HoldReply>();
    answered.subschema_for::<RenewReply>();
    answered.subschema_for::<ReleaseReply>();
    answered.subschema_for::<WarmUpReply>();
    answered.subschema_for::<Event>();
    answered.subschema_for::<Lost>();
    answered.subschema_for::<ErrorBody>();
    let mut all = asked.take_definitions(true);
    all.extend(answered.take_definitions(true));
    all
}

#[test]
fn its_schemas_are_the_types() {
    let mut document = document();
    let wanted = Value::Object(schemas());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        document["components"]["schemas"] = wanted.clone();
        let text = serde_json::to_string_pretty(&document).unwrap();
        // Other tests read it meanwhile.
        let new = format!("{PATH}.new");
        writeln!(std::fs::File::create(&new).unwrap(), "{text}").unwrap();
        std::fs::rename(new, PATH).unwrap();
    }
    let shown = &document["components"]["schemas"];
    assert_eq!(shown, &wanted, "UPDATE_EXPECT=1 cargo test -p intermission --lib openapi");
}

/// Each method of each path, with what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap();
        methods.iter().map(|(method, said)| (path.clone(), method.to_uppercase(), said.clone()))
    });
    each.collect()
}

#[test]
fn its_paths_are_the_routers_with_their_roles() {
    let shown: BTreeSet<_> = operations(&document())
        .into_iter()
        .map(|(path, method, said)| (path, method, said["x-role"].as_str().unwrap().to_owned()))
        .collect();
    let served: BTreeSet<_> = routes()
        .into_iter()
        .map(|route| {
            let role = route.needs().name().to_owned();
            (route.path.to_owned(), route.method.to_string(), role)
        })
        .collect();
    assert_eq!(shown, served);
    assert_eq!(Role::Read.name(), json!(Role::Read), "as it is written");
}

/// Every code, by the word of serde's own complaint: a new one cannot be forgotten here.
fn codes() -> BTreeSet<String> {
    let complaint = serde_json::from_str::<ErrorCode>("\"?\"").unwrap_err().to_string();
    let (_, list) = complaint.split_once("expected one of ").unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// An answer, or the one that it refers to.
fn resolved<'a>(document: &'a Value, answer: &'a Value) -> &'a Value {
    let reference = answer["$ref"].as_str();
    let there = reference.map(|reference| document.pointer(reference.trim_start_matches('#')));
    there.map_or(answer, |there| there.unwrap_or_else(|| panic!("{answer}")))
}

#[test]
fn every_code_is_said_where_its_status_is() {
    let document = document();
    let mut said = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let answers = operation["responses"].as_object().unwrap();
        for status in ["401", "403", "405"] {
            assert!(answers.contains_key(status), "{method} {path} {status}");
        }
        for (status, answer) in answers {
            let answer = resolved(&document, answer);
            let Some(codes) = answer["x-codes"].as_array() else {
                assert_eq!(status, "200", "{method} {path}");
                continue;
            };
            for code in codes {
                let code: ErrorCode = serde_json::from_value(code.clone()).unwrap();
                assert_eq!(status_of(code).as_str(), status, "{method} {path} {code:?}");
                said.insert(json!(code).as_str().unwrap().to_owned());
            }
        }
    }
    let anywhere = &document["components"]["responses"]["NotFound"]["x-codes"][0];
    said.insert(anywhere.as_str().unwrap().to_owned());
    assert_eq!(said, codes());
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    fn follow(document: &Value, value: &Value, seen: &mut usize) {
        if value["$ref"].is_string() {
            *seen += 1;
            resolved(document, value);
        }
        let each: Vec<&Value> = match value {
            Value::Array(values) => values.iter().collect(),
            Value::Object(values) => values.values().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        each.into_iter().for_each(|value| follow(document, value, seen));
    }
    let (document, mut seen) = (document(), 0);
    follow(&document, &document, &mut seen);
    assert!(seen > 50, "{seen}");
}
