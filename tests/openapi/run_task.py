"""Runs one task, from its creation to its execution's log, by the client made from the OpenAPI document.

Usage: run_task.py <base URL> <operator's token> <hosts in the pool>
"""

import sys
import time
import uuid
from typing import TypeVar

from hostsync_client import AuthenticatedClient
from hostsync_client.api.looking import get_es_sync_execution_detail, get_es_sync_execution_logs
from hostsync_client.api.running import execute_es_sync_task
from hostsync_client.api.tasks import create_es_sync_task, delete_es_sync_task, get_es_sync_task_detail
from hostsync_client.models import (
    Code,
    CreateTask,
    Done,
    ErrorBody,
    ExecuteTask,
    ExecutionDetailBodySyncStatus,
    ExecutionDetailPage,
    ExecutionLogBodyExecutionStatus,
    ExecutionLogPage,
    RunAccepted,
    TaskCreated,
    TaskShown,
)

T = TypeVar("T")

# Longest wait for the run, in seconds.
DEADLINE_S = 60

GOING = (ExecutionLogBodyExecutionStatus.RUNNING, ExecutionLogBodyExecutionStatus.WAITING)


def expect(kind: type[T], answer: object) -> T:
    """The answer, which must be of this kind."""
    assert isinstance(answer, kind), f"expected {kind.__name__}: {answer}"
    return answer


def until_ended(client: AuthenticatedClient, execution_id: int) -> ExecutionDetailPage:
    """The execution with its hosts, once it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        page = expect(ExecutionDetailPage, get_es_sync_execution_detail.sync(execution_id, client=client))
        if page.execution_log.execution_status not in GOING:
            return page
        assert time.monotonic() < deadline, f"execution {execution_id} has not ended: {page.execution_log}"
        time.sleep(0.1)


def main(base_url: str, token: str, hosts: int) -> None:
    with AuthenticatedClient(base_url=base_url, token=token, raise_on_unexpected_status=True) as client:
        name = f"made by a generated client {uuid.uuid4()}"
        task = CreateTask(task_name=name, cron_expression="0 0 3 * * *", query_time_range="12h")
        task_id = expect(TaskCreated, create_es_sync_task.sync(client=client, body=task)).task_id
        shown = expect(TaskShown, get_es_sync_task_detail.sync(task_id, client=client)).task
        assert (shown.task_name, shown.is_enabled, shown.next_execution_time) == (name, False, None), shown

        key = str(uuid.uuid4())
        body = ExecuteTask(wait_seconds=1)
        run = expect(RunAccepted, execute_es_sync_task.sync(task_id, client=client, body=body, idempotency_key=key))
        again = expect(RunAccepted, execute_es_sync_task.sync(task_id, client=client, body=body, idempotency_key=key))
        assert again.execution_id == run.execution_id, (run, again)

        page = until_ended(client, run.execution_id)
        assert page.execution_log.execution_status == ExecutionLogBodyExecutionStatus.SUCCESS, page
        assert page.status_counts.success == page.execution_log.total_hosts == hosts, page.status_counts
        assert len(page.execution_details) == hosts, page.execution_details
        for detail in page.execution_details:
            assert detail.sync_status == ExecutionDetailBodySyncStatus.SUCCESS, detail
            assert detail.max_cpu is not None and detail.avg_cpu is not None, detail
            assert detail.max_cpu >= detail.avg_cpu > 0, detail

        logs = expect(ExecutionLogPage, get_es_sync_execution_logs.sync(client=client, task_id=task_id)).execution_logs
        assert [log.id for log in logs] == [run.execution_id] and logs[0].task_name == name, logs

        expect(Done, delete_es_sync_task.sync(task_id, client=client))
        gone = expect(ErrorBody, get_es_sync_task_detail.sync(task_id, client=client))
        assert gone.code == Code.TASK_NOT_FOUND, gone
        print(f"task {task_id} ran as execution {run.execution_id} over {hosts} hosts")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
