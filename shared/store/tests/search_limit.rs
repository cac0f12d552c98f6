//! The rows by which the workers share the searches of an endpoint.

use chrono::TimeDelta;
use hostsync_store::tables::search_limit::{self, SearchShare, SearcherId};
use hostsync_testing::bed::on_bed;

const ONE: SearcherId = SearcherId::new(1);
const OTHER: SearcherId = SearcherId::new(u128::MAX);

#[tokio::test]
async fn what_one_worker_writes_the_next_one_reads_under_the_lock() {
    on_bed("limit", async |bed| {
        let mut first = bed.pool.begin().await.expect("a transaction");
        let mut locked = search_limit::lock(&mut first, "default", 500.0).await.expect("locked");
        let found = (locked.limit.searches.allowed, locked.limit.hosts.allowed, locked.shares.len());
        assert_eq!(found, (1.0, 500.0, 0));
        let second = tokio::spawn({
            let pool = bed.pool.clone();
            async move {
                let mut second = pool.begin().await.expect("a transaction");
                let locked = search_limit::lock(&mut second, "default", 100.0).await.expect("locked");
                second.commit().await.expect("committed");
                locked
            }
        });
        locked.limit.searches.allowed = 7.5;
        locked.limit.searches.too_much = Some(9.0);
        locked.limit.searches.lowered_at = Some(locked.now);
        locked.limit.hosts.raised_at = Some(locked.now);
        locked.limit.baselines = Some("{}".to_owned());
        locked.limit.changed_at = locked.now;
        search_limit::save(&mut first, "default", &locked.limit).await.expect("saved");
        let own = SearchShare { worker: ONE, wanted: 3, granted: 2 };
        let other = SearchShare { worker: OTHER, wanted: 1, granted: 1 };
        for share in [other, SearchShare { granted: 0, ..own }, own] {
            search_limit::put_share(&mut first, "default", share, locked.now).await.expect("put");
        }
        first.commit().await.expect("committed");
        let read = second.await.expect("read");
        assert_eq!((read.limit, read.shares), (locked.limit, vec![own, other]));
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_was_away_begins_with_one_search_and_workers_that_are_gone_do_not_count() {
    on_bed("limit_again", async |bed| {
        let mut connection = bed.pool.acquire().await.expect("a connection");
        search_limit::begin_again(&mut connection, "default").await.expect("nothing to begin");
        let mut locked = search_limit::lock(&mut connection, "default", 500.0).await.expect("locked");
        locked.limit.searches.allowed = 12.0;
        search_limit::save(&mut connection, "default", &locked.limit).await.expect("saved");
        let gone = SearchShare { worker: ONE, wanted: 3, granted: 2 };
        let then = locked.now - search_limit::SHARE_LIVES;
        search_limit::put_share(&mut connection, "default", gone, then).await.expect("put");
        let here = SearchShare { worker: OTHER, ..gone };
        search_limit::put_share(&mut connection, "default", here, locked.now).await.expect("put");
        search_limit::begin_again(&mut connection, "default").await.expect("begun");
        let locked = search_limit::lock(&mut connection, "default", 500.0).await.expect("locked");
        assert_eq!((locked.limit.searches.allowed, locked.shares), (1.0, vec![here]));
        assert!(locked.limit.searches.lowered_at.is_some(), "from now on it goes up by one");

        search_limit::prune(&mut connection, TimeDelta::days(1)).await.expect("pruned");
        let left = bed.count("SELECT COUNT(*) FROM es_sync_search_share").await.expect("a count");
        assert_eq!(left, 1, "the one who is gone");
        search_limit::drop_share(&mut connection, "default", OTHER).await.expect("dropped");
        bed.execute("UPDATE es_sync_search_limit SET changed_at = changed_at - INTERVAL 2 DAY").await;
        search_limit::prune(&mut connection, TimeDelta::days(1)).await.expect("pruned");
        let left = "SELECT (SELECT COUNT(*) FROM es_sync_search_share) + (SELECT COUNT(*) FROM es_sync_search_limit)";
        assert_eq!(bed.count(left).await.expect("a count"), 0);
    })
    .await;
}
