//! Who stands behind tokens: entities, their aliases, and groups of them, at `identity/`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::call::Repeat;
use super::logical::{Answer, Verb};
use super::{Conclave, Error};

/// Entities, aliases and groups.
#[derive(Clone)]
pub struct Identity {
    cluster: Conclave,
}

/// Somebody or something that logs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Entity {
    /// Names it for ever.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its tokens are refused.
    pub disabled: bool,
    /// What it may, beside what its tokens may.
    #[serde(deserialize_with = "or_nothing")]
    pub policies: Vec<String>,
    /// What was noted about it.
    #[serde(deserialize_with = "or_nothing")]
    pub metadata: BTreeMap<String, String>,
    /// Its names at auth mounts.
    #[serde(deserialize_with = "or_nothing")]
    pub aliases: Vec<Alias>,
    /// The groups it is in, at any depth.
    #[serde(deserialize_with = "or_nothing")]
    pub group_ids: Vec<String>,
}

/// A name at an auth mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Alias {
    /// Names it for ever.
    pub id: String,
    /// The name.
    pub name: String,
    /// Names the mount.
    pub mount_accessor: String,
    /// Where the mount is.
    pub mount_path: String,
    /// The entity, or group, it belongs to.
    pub canonical_id: String,
    /// What people noted about it.
    #[serde(deserialize_with = "or_nothing")]
    pub custom_metadata: BTreeMap<String, String>,
    /// What the auth method noted about it.
    #[serde(deserialize_with = "or_nothing")]
    pub metadata: BTreeMap<String, String>,
}

/// Entities and groups that may something together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Group {
    /// Names it for ever.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `internal`, or `external` if an auth method tells who is in it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What everybody in it may.
    #[serde(deserialize_with = "or_nothing")]
    pub policies: Vec<String>,
    /// What was noted about it.
    #[serde(deserialize_with = "or_nothing")]
    pub metadata: BTreeMap<String, String>,
    /// The entities in it.
    #[serde(deserialize_with = "or_nothing")]
    pub member_entity_ids: Vec<String>,
    /// The groups in it.
    #[serde(deserialize_with = "or_nothing")]
    pub member_group_ids: Vec<String>,
    /// The groups it is in.
    #[serde(deserialize_with = "or_nothing")]
    pub parent_group_ids: Vec<String>,
}

/// What an entity is to be. `None` leaves a thing as it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EntityWishes {
    /// Which one; `None`: the one of this name, or a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Replaces its policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// Replaces what was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether its tokens are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// What an alias is to be. `None` leaves a thing as it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AliasWishes {
    /// Which one; `None`: the one of this name at this mount, or a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_accessor: Option<String>,
    /// The entity it belongs to; `None` for a new one: a new entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical_id: Option<String>,
    /// Replaces what people noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<BTreeMap<String, String>>,
}

/// What a group is to be. `None` leaves a thing as it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GroupWishes {
    /// Which one; `None`: the one of this name, or a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `internal` or `external`, for a new one.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Replaces its policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// Replaces what was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Replaces the entities in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_entity_ids: Option<Vec<String>>,
    /// Replaces the groups in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_group_ids: Option<Vec<String>>,
}

impl Identity {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// Makes or changes an entity; its id, unless the cluster says nothing because nothing is new.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is another's.
    pub async fn put_entity(&self, wishes: &EntityWishes) -> Result<Option<String>, Error> {
        self.put("entity", wishes).await
    }

    /// The entity of this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn entity(&self, id: &str) -> Result<Entity, Error> {
        self.get(&format!("entity/id/{id}")).await
    }

    /// The entity of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn entity_named(&self, name: &str) -> Result<Entity, Error> {
        self.get(&format!("entity/name/{name}")).await
    }

    /// The names of all entities, sorted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entities(&self) -> Result<Vec<String>, Error> {
        self.names("entity/name").await
    }

    /// The entity that logs in by this name at the mount with this accessor; `None` if nobody does.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such mount.
    pub async fn entity_behind(&self, name: &str, mount_accessor: &str) -> Result<Option<Entity>, Error> {
        let asked = json!({"alias_name": name, "alias_mount_accessor": mount_accessor});
        let path = "identity/lookup/entity";
        let logical = self.cluster.logical();
        match logical.ask(Repeat::Freely, Verb::Write, path, &asked).await {
            Ok(answer) if answer.data.value("id").is_some() => answer.data.decode().map(Some),
            Ok(_) | Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes one entity of several: what the others had goes over to `into`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if two have names at one mount, or one is not there.
    pub async fn merge_entities(&self, into: &str, from: &[String]) -> Result<(), Error> {
        let asked = json!({"to_entity_id": into, "from_entity_ids": from});
        self.write("entity/merge", &asked).await.map(drop)
    }

    /// Removes an entity: its tokens are refused from now on.
    ///
    /// # Errors
    /// See [`Error`]. One that is not there is none.
    pub async fn delete_entity(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("entity/id/{id}")).await
    }

    /// Makes or changes an alias; its id, unless the cluster says nothing because nothing is new.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such mount or entity, or the entity has another name at that mount.
    pub async fn put_alias(&self, wishes: &AliasWishes) -> Result<Option<String>, Error> {
        self.put("entity-alias", wishes).await
    }

    /// The alias of this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn alias(&self, id: &str) -> Result<Alias, Error> {
        self.get(&format!("entity-alias/id/{id}")).await
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// See [`Error`]. One that is not there is none.
    pub async fn delete_alias(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("entity-alias/id/{id}")).await
    }

    /// Makes or changes a group; its id, unless the cluster says nothing because nothing is new.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a member is not there, or the group would be in itself.
    pub async fn put_group(&self, wishes: &GroupWishes) -> Result<Option<String>, Error> {
        self.put("group", wishes).await
    }

    /// The group of this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn group(&self, id: &str) -> Result<Group, Error> {
        self.get(&format!("group/id/{id}")).await
    }

    /// The group of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    pub async fn group_named(&self, name: &str) -> Result<Group, Error> {
        self.get(&format!("group/name/{name}")).await
    }

    /// The names of all groups, sorted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn groups(&self) -> Result<Vec<String>, Error> {
        self.names("group/name").await
    }

    /// Removes a group: what it granted is gone.
    ///
    /// # Errors
    /// See [`Error`]. One that is not there is none.
    pub async fn delete_group(&self, id: &str) -> Result<(), Error> {
        self.delete(&format!("group/id/{id}")).await
    }

    async fn put<T: Serialize>(&self, path: &str, wishes: &T) -> Result<Option<String>, Error> {
        let answer = self.write(path, wishes).await?;
        Ok(answer.data.text("id").map(str::to_owned))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let path = format!("identity/{path}");
        self.cluster.logical().read(&path).await?.data.decode()
    }

    async fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        match self.cluster.logical().list(&format!("identity/{path}")).await {
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            listed => listed,
        }
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        let path = format!("identity/{path}");
        self.cluster.logical().delete(&path).await.map(drop)
    }

    async fn write<T: Serialize>(&self, path: &str, data: &T) -> Result<Answer, Error> {
        let path = format!("identity/{path}");
        self.cluster
            .logical()
            .ask(Repeat::ByKey, Verb::Write, &path, data)
            .await
    }
}

/// What nobody ever gave is null.
fn or_nothing<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
