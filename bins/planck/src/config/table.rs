//! One row for each setting: name, default, bounds, meaning.
//!
//! Invariant: a setting exists by its row alone. The type that reads it, its
//! default and the reference (`planck --settings`) all come from that row.

/// A line of the reference.
pub struct Row {
    /// Dotted name, as in `http.port`.
    pub name: String,
    /// Its default, as it would be written.
    pub default: String,
    /// What is allowed.
    pub allowed: String,
    /// What it does.
    pub meaning: &'static str,
}

/// A group of settings.
pub trait Settings {
    /// Appends its rows, their names behind `prefix`.
    fn rows(prefix: &str, out: &mut Vec<Row>);
}

macro_rules! settings {
    ($(#[doc = $doc:literal])* $name:ident {
        $( $field:ident : $type:ty = $default:expr, $shown:expr, $allowed:expr, $meaning:literal; )*
        $( @$group:ident : $inner:ty; )*
        $( []$list:ident : $item:ty; )*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( #[doc = $meaning] pub $field: $type, )*
            $( #[doc = "A group."] pub $group: $inner, )*
            $( #[doc = "Groups, as many as are listed."] pub $list: Vec<$item>, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $group: Default::default(), )*
                    $( $list: Vec::new(), )* }
            }
        }

        impl $crate::config::table::Settings for $name {
            fn rows(prefix: &str, out: &mut Vec<$crate::config::table::Row>) {
                $( out.push($crate::config::table::Row {
                    name: format!("{prefix}{}", stringify!($field)),
                    default: $shown.to_string(),
                    allowed: $allowed.to_string(),
                    meaning: $meaning,
                }); )*
                $( <$inner as $crate::config::table::Settings>::rows(
                    &format!("{prefix}{}.", stringify!($group)), out); )*
                $( <$item as $crate::config::table::Settings>::rows(
                    &format!("{prefix}{}[].", stringify!($list)), out); )*
            }
        }
    };
}
pub(crate) use settings;

/// The reference of one file, as Markdown.
pub fn reference<S: Settings>(title: &str) -> String {
    let mut rows = Vec::new();
    S::rows("", &mut rows);
    let mut text =
        format!("## {title}\n\n| setting | default | allowed | meaning |\n|---|---|---|---|\n");
    for row in rows {
        text +=
            &format!("| `{}` | {} | {} | {} |\n", row.name, row.default, row.allowed, row.meaning);
    }
    text
}
