//! Where bytes are that a configuration names: in a file, or in memory.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the bytes of a certificate, a key or an authority are. People write paths; what comes from elsewhere, as from an
/// object of a cluster, is in memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Material {
    /// In a file; relative to the configuration's folder.
    Path(PathBuf),
    /// Here, under the name that problems call it by.
    Memory(Arc<str>, Arc<[u8]>),
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Memory(name, _) => name.fmt(f),
        }
    }
}

/// The name and never the bytes, which may be a key.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl<'de> Deserialize<'de> for Material {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PathBuf::deserialize(deserializer).map(Self::Path)
    }
}

impl Serialize for Material {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Material {
    fn schema_name() -> Cow<'static, str> {
        "Material".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<String>()
    }
}
