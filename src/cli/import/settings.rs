//! Settings of Traefik 1.7 by their path, whatever the case of their letters; what nobody has taken is left, and told.

use std::collections::BTreeMap;

use toml::Value;

/// Settings by their path: `forwardingtimeouts.dialtimeout`. An empty section is there as well.
#[derive(Debug, Default)]
pub(super) struct TraefikSettings(BTreeMap<String, Value>);

impl TraefikSettings {
    /// Those of a file in TOML.
    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let table: toml::Table = text.parse()?;
        let mut settings = Self::default();
        settings.put_table("", table);
        Ok(settings)
    }

    fn put_table(&mut self, path: &str, table: toml::Table) {
        if table.is_empty() && !path.is_empty() {
            self.0.insert(path.to_owned(), Value::Boolean(true));
        }
        for (key, value) in table {
            let path = if path.is_empty() { key.to_lowercase() } else { format!("{path}.{}", key.to_lowercase()) };
            if let Value::Table(table) = value {
                self.put_table(&path, table);
            } else {
                self.put(&path, value);
            }
        }
    }

    /// Sets one, in the place of what was there.
    pub(super) fn put(&mut self, path: &str, value: Value) {
        self.0.insert(path.to_lowercase(), value);
    }

    /// Takes the text of one.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.0.remove(path).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Takes a switch.
    pub(super) fn is_on(&mut self, path: &str) -> bool {
        self.text(path).is_some_and(|text| matches!(text.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True"))
    }

    /// Takes a list: of a file, or between commas.
    pub(super) fn list(&mut self, path: &str) -> Vec<String> {
        match self.0.remove(path) {
            None => Vec::new(),
            Some(Value::Array(values)) => {
                values.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
            }
            Some(other) => {
                let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            }
        }
    }

    /// A list, which is left there.
    pub(super) fn peek_list(&mut self, path: &str) -> Vec<String> {
        let list = self.list(path);
        if !list.is_empty() {
            self.put(path, Value::from(list.clone()));
        }
        list
    }

    /// Takes a value as it is.
    pub(super) fn value(&mut self, path: &str) -> Option<Value> {
        self.0.remove(path)
    }

    /// Takes a time, as ours is written: of Go, or bare seconds.
    ///
    /// # Errors
    /// What it is in place of a time.
    pub(super) fn time(&mut self, path: &str) -> Result<Option<String>, String> {
        let Some(text) = self.text(path) else { return Ok(None) };
        let seconds = seconds(&text).ok_or_else(|| format!("{path}: `{text}` is no time"))?;
        let ms = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_millis();
        Ok(Some(if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }))
    }

    /// True where a section, or anything in it, is there, and it is not switched off as a whole.
    pub(super) fn has(&self, section: &str) -> bool {
        match self.0.get(section) {
            Some(value) => !is_off(value),
            None => self.0.keys().any(|path| path.starts_with(&format!("{section}."))),
        }
    }

    /// The names one level below a section.
    pub(super) fn names(&self, section: &str) -> Vec<String> {
        let below = |path: &String| path.strip_prefix(&format!("{section}."))?.split('.').next().map(str::to_owned);
        let mut names: Vec<String> = self.0.keys().filter_map(below).collect();
        names.dedup();
        names
    }

    /// Drops a section: what is in it was taken.
    pub(super) fn drop(&mut self, section: &str) {
        self.0.retain(|path, _| path != section && !path.starts_with(&format!("{section}.")));
    }

    /// What nobody has taken, and is not switched off.
    pub(super) fn left(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter(|(_, value)| !is_off(value)).map(|(path, _)| path)
    }
}

fn is_off(value: &Value) -> bool {
    value.as_bool() == Some(false) || value.as_str() == Some("false")
}

/// `1m30s`, `100ms`, or bare seconds.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(f64::from(seconds));
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[end..];
    }
    (!text.is_empty() && sum < 1e9).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_go_or_seconds() {
        let mut settings =
            TraefikSettings::parse("A = 90\nb = \"1m30s\"\n[C]\nD = \"100ms\"\ne = \"x\"\n[f]\n").unwrap();
        assert_eq!(
            ["a", "b", "c.d", "g"].map(|path| settings.time(path).unwrap()),
            [Some("90s".to_owned()), Some("90s".to_owned()), Some("100ms".to_owned()), None]
        );
        assert!(settings.time("c.e").is_err());
        assert!(settings.has("f") && !settings.has("c") && settings.is_on("f"));
        for text in ["", "s", "1", "-1s", "1y", "9999999999999h"] {
            assert_eq!(seconds(text).is_some(), text == "1", "{text}");
        }
    }
}
