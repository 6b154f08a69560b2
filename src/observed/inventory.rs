//! What objects there are, without what is in them: names, labels and versions are a hundredth of the whole.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde::Deserialize;

use super::kinds::{Kinds, Resource};
use crate::base::error::Error;
use crate::desired::objects::ObjectId;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, segment};

/// The label that helm gives to every object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// An object without what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Its name.
    pub name: String,
    /// Its namespace; empty without one.
    pub namespace: String,
    /// Which object of this name it is.
    pub uid: String,
    /// How often its wanted state was changed; 0 for kinds that do not count that.
    pub generation: i64,
    /// Changes with everything that is written to it, its status too.
    pub resource_version: String,
    /// When it was made, as RFC 3339.
    pub creation_timestamp: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Meta {
    /// The Helm release that it says it belongs to, as `namespace/name`.
    #[must_use]
    pub fn release(&self) -> Option<String> {
        let note = |name: &str| self.annotations.get(&format!("meta.helm.sh/{name}"));
        Some(format!("{}/{}", note("release-namespace")?, note("release-name")?))
    }
}

/// Which of the objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that helm has made.
    Helms,
}

/// An object of a list that holds nothing but metadata.
#[derive(Deserialize)]
pub(super) struct Partial {
    pub(super) metadata: Meta,
}

/// What objects there are, of some kinds.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The kinds of which all is known, each with its group.
    whole: BTreeSet<(String, String)>,
    objects: BTreeMap<(String, String, String, String), Meta>,
}

impl Inventory {
    /// Adds all objects of a kind.
    pub fn add(&mut self, group: &str, kind: &str, objects: impl IntoIterator<Item = Meta>) {
        self.whole.insert((group.to_owned(), kind.to_owned()));
        for meta in objects {
            let key = (group.to_owned(), kind.to_owned(), meta.namespace.clone(), meta.name.clone());
            self.objects.insert(key, meta);
        }
    }

    /// Adds all that another one knows.
    pub fn extend(&mut self, other: Self) {
        self.whole.extend(other.whole);
        self.objects.extend(other.objects);
    }

    /// Finds an object. What belongs to no namespace is found whatever namespace is named.
    #[must_use]
    pub fn find(&self, id: &ObjectId) -> Option<&Meta> {
        let group = id.api_version.split_once('/').map_or("", |(group, _)| group);
        let key =
            |namespace: &str| (group.to_owned(), id.kind.clone(), namespace.to_owned(), id.name.clone());
        let own = self.objects.get(&key(id.namespace.as_deref().unwrap_or_default()));
        own.or_else(|| self.objects.get(&key("")))
    }
}

impl Toolbox {
    /// Reads what objects there are of the kinds of these ones, but those that are `known` already. Kinds that the
    /// cluster does not know have none.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn observe_inventory<'a>(
        &self,
        kinds: &Kinds,
        objects: impl Iterator<Item = &'a ObjectId>,
        which: Which,
        known: Inventory,
    ) -> Result<Inventory, Error> {
        let wanted: BTreeSet<_> = objects.map(|id| (id.group().to_owned(), id.kind.clone())).collect();
        let lists = wanted.difference(&known.whole).filter_map(|(group, kind)| {
            let resource = kinds.of(kind, group)?;
            Some(async move { Ok::<_, Error>((group, kind, self.list_metadata(resource, which).await?)) })
        });
        let lists: Result<Vec<_>, _> = join_all(lists).await.into_iter().collect();
        let mut inventory = Inventory::default();
        for (group, kind, found) in lists? {
            inventory.add(group, kind, found);
        }
        inventory.extend(known);
        Ok(inventory)
    }

    async fn list_metadata(&self, resource: &Resource, which: Which) -> Result<Vec<Meta>, Error> {
        let mut path = resource.path(None);
        if which == Which::Helms {
            path.push_str("?labelSelector=");
            path.push_str(&segment(&format!("{MANAGED_BY}=Helm")));
        }
        let list: Option<List<Partial>> = self.api_read(Call::get(&path).accept(METADATA).listed()).await?;
        Ok(list.into_iter().flat_map(|list| list.items).map(|object| object.metadata).collect())
    }
}
