//! The metadata of objects. Without their content, lists are a hundred times smaller.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde::Deserialize;

use super::kinds::{Kinds, Resource};
use crate::base::error::Error;
use crate::base::release_id::ReleaseId;
use crate::desired::objects::ObjectId;
use crate::tools::Toolbox;
use crate::tools::api::{Call, List, METADATA, segment};

/// The label that helm sets on every object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub name: String,
    /// The namespace; empty if the object is cluster-scoped.
    pub namespace: String,
    pub uid: String,
    /// The generation, which changes with the spec; 0 for kinds that do not have one.
    pub generation: i64,
    /// The resource version, which changes with every write, including the status.
    pub resource_version: String,
    /// When the object was created, as RFC 3339.
    pub creation_timestamp: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// When its deletion was requested, if it was.
    pub deletion_timestamp: Option<String>,
    pub finalizers: Vec<String>,
}

impl Meta {
    /// The Helm release in the object's annotations.
    pub(crate) fn release(&self) -> Option<ReleaseId> {
        super::item::release(&self.annotations)
    }
}

/// Which objects of a kind are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All objects.
    All,
    /// Objects with helm's label.
    Helms,
}

/// An object of which only the metadata is read.
#[derive(Deserialize)]
pub(crate) struct Partial {
    pub metadata: Meta,
}

/// The metadata of all objects of some kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    /// The kinds that were read, each with its group.
    kinds: BTreeSet<(String, String)>,
    objects: BTreeMap<(String, String, String, String), Meta>,
}

impl Inventory {
    /// Adds all objects of a kind.
    pub(crate) fn add(&mut self, group: &str, kind: &str, objects: impl IntoIterator<Item = Meta>) {
        self.kinds.insert((group.to_owned(), kind.to_owned()));
        for meta in objects {
            let key = (group.to_owned(), kind.to_owned(), meta.namespace.clone(), meta.name.clone());
            self.objects.insert(key, meta);
        }
    }

    /// Adds all objects of another inventory.
    pub(crate) fn extend(&mut self, other: Self) {
        self.kinds.extend(other.kinds);
        self.objects.extend(other.objects);
    }

    /// Finds an object. A cluster-scoped object is found with any namespace.
    pub(crate) fn find(&self, id: &ObjectId) -> Option<&Meta> {
        let group = id.api_version.split_once('/').map_or("", |(group, _)| group);
        let key =
            |namespace: &str| (group.to_owned(), id.kind.clone(), namespace.to_owned(), id.name.clone());
        let namespaced = self.objects.get(&key(id.namespace.as_deref().unwrap_or_default()));
        namespaced.or_else(|| self.objects.get(&key("")))
    }
}

impl Toolbox {
    /// Lists the objects of the kinds of `objects`, except kinds that are `known` already or that the cluster does not
    /// know.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub(crate) async fn observe_inventory<'a>(
        &self,
        kinds: &Kinds,
        objects: impl Iterator<Item = &'a ObjectId>,
        which: Which,
        known: Inventory,
    ) -> Result<Inventory, Error> {
        let requested: BTreeSet<_> = objects.map(|id| (id.group().to_owned(), id.kind.clone())).collect();
        let lists = requested.difference(&known.kinds).filter_map(|(group, kind)| {
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
