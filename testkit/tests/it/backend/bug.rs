//! What may be wrong with the [map](super::MapStore).

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bug {
    #[default]
    None,
    FillIgnoresLease,
    FillIgnoresLeaseEnd,
    AbsentIgnoresLease,
    RemoveRevokesNothing,
    PrefixRevokesNothing,
    ClearRevokesNothing,
    StoreRevokesNothing,
    FillRevokesAll,
    ExpiryUnchecked,
    ExpiryEarly,
    OverwriteKeepsTtl,
    PrefixIsSubstring,
    PrefixIsGlob,
    DuplicatesCollapse,
    ZeroTtlKeepsOld,
    AbandonRemoves,
    CountsExpired,
    LeaseIsAnEntry,
    SettlesWithoutLocalTtl,
    KeysCaseInsensitive,
    StoreManyKeepsFirst,
    StoreManyRevokesNothing,
    /// What comes between the look at the lease and the write is not seen.
    FillChecksThenWrites,
    /// A fill that comes between the two is not undone.
    RemoveThenRevokes,
    /// A fill that comes between the two overwrites.
    StoreThenRevokes,
    /// Only the first page of what a prefix selects, or a list of keys.
    RemovesFirstPage,
    /// The rest of a list is missing.
    FetchManyFirstBatch,
    /// The rest of a list is not written.
    StoreManyFirstBatch,
    /// The decoded value of what was overwritten by a write is kept.
    KeepsValueOnStore,
    /// The same by a fill.
    KeepsValueOnFill,
    /// The same by a write of many.
    KeepsValueOnStoreMany,
    FillOrRemoveKeepsLeases,
    FillOrRemoveLeavesOld,
    FetchSharedFindsNothing,
    FetchManySharedCollapses,
    LeaseHereIsNeverRevoked,
    TellsFirst,
    TellsNobody,
    StoreManyUsesDefaultTtl,
    StoreManyKeepsTtl,
    StoreManyKeepsOldForZero,
    FetchManyUnexpired,
    /// Each client grants leases by itself.
    LeasesPerClient,
    /// A prefix is that of the keys which this client has written.
    PrefixOfOwnKeys,
}
