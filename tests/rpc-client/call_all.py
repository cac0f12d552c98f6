"""Calls every method of cmpool.cmpool, with a client made from the document.

Arguments: the folder of cmpool.proto, host and port of the server, the operator's token, the viewer's token.
"""

import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc


def generate(proto_folder):
    """Makes the client and imports it."""
    target = tempfile.mkdtemp(prefix="cmpool-")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{proto_folder}", f"-I{well_known}", f"--python_out={target}",
                 f"--grpc_python_out={target}", "cmpool.proto"]
    assert protoc.main(arguments) == 0, arguments
    sys.path.insert(0, target)
    import cmpool_pb2
    import cmpool_pb2_grpc
    return cmpool_pb2, cmpool_pb2_grpc


def main(proto_folder, address, operator, viewer):
    pb, pb_grpc = generate(proto_folder)
    methods = pb.DESCRIPTOR.services_by_name["cmpool"].methods_by_name
    called = set()
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.cmpoolStub(channel)

        def call(method, request, token=operator, timeout=30):
            called.add(method)
            return getattr(stub, method)(request, timeout=timeout, metadata=[("authorization", f"Bearer {token}")])

        def done(method, request, **more):
            answer = call(method, request, **more)
            assert answer.Success and answer.Message, (method, answer)
            return answer

        def status(method, request, token):
            try:
                call(method, request, token=token)
            except grpc.RpcError as error:
                return error.code()
            raise AssertionError(f"{method} was answered")

        # Tasks.
        task_id = done("create_es_sync_task", pb.CreateESSyncTaskReq(
            TaskName="每日同步", CronExpression="0 0 2 * * ?", QueryTimeRange="24h", CreatedBy="python")).TaskId
        assert task_id > 0
        again = call("create_es_sync_task", pb.CreateESSyncTaskReq(TaskName="每日同步", CronExpression="@daily"))
        assert not again.Success and "another task is named" in again.Message, again
        done("update_es_sync_task", pb.UpdateESSyncTaskReq(Id=task_id, Description="changed"))
        done("enable_es_sync_task", pb.EnableESSyncTaskReq(Id=task_id, IsEnabled=True))
        tasks = done("get_es_sync_tasks", pb.GetESSyncTasksReq(EnabledOnly=True), token=viewer).Tasks
        assert [task.Id for task in tasks] == [task_id], tasks
        task = done("get_es_sync_task_detail", pb.GetESSyncTaskDetailReq(Id=task_id), token=viewer).Task
        assert (task.TaskName, task.Description, task.QueryTimeRange) == ("每日同步", "changed", "24h"), task
        assert task.IsEnabled and task.NextExecutionTime.endswith("T02:00:00.000Z"), task

        # Runs.
        run = done("execute_es_sync_by_host_list", pb.ExecuteESSyncByHostListReq(
            TaskName="手动测试", HostIpList=["10.1.1.1", "10.1.1.9"], QueryTimeRange="7d"))
        assert (run.TotalHosts, run.SuccessCount, run.FailedCount, run.NotInPoolCount) == (2, 2, 0, 0), run
        assert list(run.SuccessIpList) == ["10.1.1.1", "10.1.1.9"], run
        assert (list(run.NewHostIpList), list(run.UpdatedHostIpList)) == (["10.1.1.1"], ["10.1.1.9"]), run
        by_file = done("execute_es_sync_by_file", pb.ExecuteESSyncByFileReq(
            TaskName="file", Filename="hosts.txt", FileContent=b"10.1.1.1\nweb-1\n"))
        assert (by_file.TotalHosts, by_file.NewHostsCount) == (1, 1) and "1 bad line" in by_file.Message, by_file
        nobody = call("execute_es_sync_by_host_list", pb.ExecuteESSyncByHostListReq(TaskName="nobody"))
        assert not nobody.Success and nobody.ExecutionId == 0, nobody
        full = call("execute_es_sync_full_sync", pb.ExecuteESSyncFullSyncReq(TaskName="full", GroupName="nobody's"))
        assert full.Message, full

        # Looking.
        logs = done("get_es_sync_execution_logs", pb.GetESSyncExecutionLogsReq(Limit=500), token=viewer).ExecutionLogs
        assert {run.ExecutionId, by_file.ExecutionId} <= {log.Id for log in logs}, logs
        data = done("get_es_sync_execution_detail",
                    pb.GetESSyncExecutionDetailReq(ExecutionId=run.ExecutionId), token=viewer).Data
        assert (data.ExecutionLog.TaskName, data.ExecutionLog.ExecutionStatus) == ("手动测试", "success"), data
        first = data.Details[0]
        assert (first.HostIp, first.SyncStatus, first.MaxCpu, first.AvgCpu) == ("10.1.1.1", "success", 12.5, 0), first
        assert first.HasField("MaxCpu") and not first.HasField("AvgCpu"), first
        gone = call("get_es_sync_execution_detail", pb.GetESSyncExecutionDetailReq(ExecutionId=4711))
        assert not gone.Success and gone.Message == "there is no execution 4711", gone

        done("delete_es_sync_task", pb.DeleteESSyncTaskReq(Id=task_id))

        # Who may not.
        assert status("get_es_sync_tasks", pb.GetESSyncTasksReq(), "nobody") == grpc.StatusCode.UNAUTHENTICATED
        assert status("delete_es_sync_task", pb.DeleteESSyncTaskReq(Id=1), viewer) == grpc.StatusCode.PERMISSION_DENIED

    assert called == set(methods), set(methods) - called
    print(f"all {len(called)} methods were called")


if __name__ == "__main__":
    main(*sys.argv[1:])
