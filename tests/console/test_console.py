"""What people do with the console."""

import re

from conftest import sign_in
from playwright.sync_api import expect


def textbox(page, name):
    return page.get_by_role("textbox", name=name, exact=True)


def make_task(page, name, schedule="0 30 2 * * MON"):
    page.goto("/#/tasks/new")
    textbox(page, "Name").fill(name)
    textbox(page, "Schedule").fill(schedule)
    page.get_by_role("button", name="Create").click()
    page.get_by_role("heading", name=name).wait_for()


def test_a_token_is_asked_for_and_kept_for_the_tab_alone(page, operator):
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "not-a-token-of-this-server")
    expect(page.get_by_text("does not know this token")).to_be_visible()
    sign_in(page, operator)
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    kept = page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]")
    assert kept == [0, "", [operator]]
    page.reload()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_task_is_made_with_its_schedule_and_source_in_view(signed_in):
    page = signed_in
    page.get_by_role("link", name="New task").click()
    textbox(page, "Name").fill("weekly load")
    textbox(page, "Time zone").fill("Europe/Berlin")
    textbox(page, "Schedule").fill("0 30 2 1 * MON")
    page.get_by_role("button", name="Preview the schedule").click()
    expect(page.get_by_text("Europe/Berlin", exact=False).first).to_be_visible()
    expect(page.get_by_role("list", name="Warnings")).to_contain_text("day")
    expect(page.locator("ol time")).to_have_count(5)

    textbox(page, "Schedule").fill("0 30 25 * * MON")
    page.get_by_role("button", name="Preview the schedule").click()
    expect(page.get_by_text("is out of range")).to_be_visible()

    # The server of the test has no source: that is told, field by field where it can be.
    page.get_by_role("button", name="Probe the source").click()
    expect(page.get_by_text("not reachable")).to_be_visible()
    expect(page.get_by_role("list", name="Problems")).to_be_visible()

    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert").filter(has_text="out of range").first).to_be_visible()
    textbox(page, "Schedule").fill("0 30 2 * * MON")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="weekly load")).to_be_visible()

    textbox(page, "Description").fill("every Monday")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("task")
    page.get_by_role("link", name="Tasks", exact=True).click()
    row = page.get_by_role("row").filter(has_text="weekly load")
    expect(row).to_contain_text("every Monday")

    switch = page.get_by_role("switch", name="weekly load fires")
    expect(switch).not_to_be_checked()
    switch.click()
    expect(page.get_by_role("switch", name="weekly load fires")).to_be_checked()
    expect(row.locator("time")).to_have_count(1)

    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete weekly load").click()
    expect(page.get_by_role("row").filter(has_text="weekly load")).to_have_count(0)


def test_a_probe_shows_each_field_and_one_host_from_its_raw_values_to_its_row(signed_in):
    page = signed_in
    values = dict.fromkeys([
        "cpu_load", "cpu_percent_max", "cpu_percent_avg", "cpu_percent_min", "used_memory", "mem_percent_max",
        "mem_percent_avg", "mem_percent_min", "used_disk", "disk_percent_max", "disk_percent_avg", "disk_percent_min"])
    answer = {
        "success": True, "message": "a task would read 288000 documents; host 10.0.0.1: success", "problems": [],
        "reachable": True, "product": "opensearch", "version": "2.19.1", "index_exists": True, "index_count": 1,
        "documents": 288000, "es_endpoint": "default", "es_index_pattern": "load-*", "mapping": "zabbix",
        "query_time_range": "24h", "window_from": "2026-01-01T00:00:00.000Z", "window_to": "2026-01-02T00:00:00.000Z",
        "mon_date": "2026-01-02", "max_hosts_per_search": 500, "slice_seconds": None,
        "fields": [
            {"key": "memory.max", "field": "available_memory", "unit": "gb", "types": "float", "usable": True,
             "reason": None, "columns": ["used_memory", "mem_percent_max"]},
            {"key": "cpu.max", "field": "load", "unit": None, "types": "text", "usable": False,
             "reason": "a text cannot be aggregated", "columns": ["cpu_percent_max"]}],
        "host": {"host_ip": "10.0.0.1", "host_name": "web-1", "in_pool": True, "ram": 16, "disk_size": None,
                 "sync_status": "success", "error_message": None, "memory_share": None, "disk_share": None,
                 "raw": {"documents": 288, "cpu": None, "memory": {"max": 8.0, "avg": 6.1, "min": 4.0}, "disk": None},
                 "converted": {**values, "used_memory": 8.0}, "row_before": None, "row_after": {**values, "used_memory": 8.0}},
    }
    asked = []
    page.route("**/probe", lambda route: (asked.append(route.request.post_data_json), route.fulfill(json=answer)))
    page.goto("/#/tasks/new")
    textbox(page, "Index pattern").fill("load-*")
    textbox(page, "Host to show").fill("10.0.0.1")
    page.get_by_role("button", name="Probe the source").click()
    fields = page.get_by_role("region", name="Fields of the mapping zabbix")
    expect(fields).to_contain_text("a text cannot be aggregated")
    expect(page.get_by_role("region", name="Raw values, of 288 documents")).to_contain_text("6.1")
    expect(page.get_by_role("region", name="Values of the day")).to_contain_text("8 GB")
    expect(page.get_by_text("default: opensearch 2.19.1")).to_be_visible()
    assert [(body["es_index_pattern"], body["host_ip"]) for body in asked] == [("load-*", "10.0.0.1")]


def test_a_task_runs_at_once(signed_in):
    page = signed_in
    make_task(page, "pool")
    page.goto("/#/tasks")
    page.get_by_role("button", name="Run pool now").click()
    expect(page.get_by_role("heading", name=re.compile(r"Execution \d+: pool"))).to_be_visible()


def test_a_list_runs_without_its_bad_lines_and_its_progress_is_seen_to_the_end(signed_in):
    page = signed_in
    page.get_by_role("link", name="Run by hand").click()
    hosts = "\n".join(f"10.1.0.{number}" for number in range(12))
    textbox(page, "Name").fill("by hand")
    textbox(page, "Hosts").fill(f"{hosts}\nno address\n")
    page.get_by_role("button", name="Run", exact=True).click()
    invalid = page.get_by_role("region", name=re.compile("left out: 1$"))
    expect(invalid).to_contain_text("no address")
    # Less than all at first, then all: the bar has moved by itself.
    expect(page.get_by_text(re.compile(r"\b[1-9]\d? of 12 hosts .*pending"))).to_be_visible()
    expect(page.get_by_text("12 of 12 hosts · 12 success")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("has ended")

    page.get_by_role("link", name=re.compile(r"^Execution \d+$")).click()
    expect(page.get_by_role("heading", name=re.compile("by hand"))).to_be_visible()
    textbox(page, "Address").fill("10.1.0.3")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="10.1.0.3").click()
    expect(page.get_by_role("heading", name=re.compile("Host 10.1.0.3 of execution"))).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("Attempt 1"))).to_be_visible()


def test_a_file_is_run_as_it_is(signed_in):
    page = signed_in
    page.goto("/#/run")
    textbox(page, "Name").fill("from a file")
    file = {"name": "hosts.txt", "mimeType": "text/plain", "buffer": b"\xef\xbb\xbf10.2.0.1,\r\n10.2.0.2 # front\r\n"}
    page.get_by_label("Or a file of hosts").set_input_files(file)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("2 of 2 hosts · 2 success")).to_be_visible()


def test_executions_are_filtered_and_the_failed_hosts_run_again(signed_in):
    page = signed_in
    page.get_by_role("link", name="Executions", exact=True).first.click()
    page.get_by_role("combobox", name="Status").select_option("partial")
    page.get_by_role("combobox", name="Trigger").select_option("manual")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="explained").click()
    page.get_by_role("list", name="Hosts by status").get_by_role("link", name=re.compile("failed")).click()
    expect(page.get_by_role("link", name="10.0.0.2")).to_be_visible()
    expect(page.get_by_role("link", name="10.0.0.1")).to_have_count(0)
    page.get_by_role("button", name="Retry the failed hosts").click()
    expect(page.get_by_text("1 of 1 host · 1 success")).to_be_visible()


def test_a_host_is_explained_from_its_search_to_its_row(signed_in):
    page = signed_in
    page.goto("/#/executions?status=partial")
    page.get_by_role("link", name="explained").click()
    page.get_by_role("link", name="10.0.0.1").click()
    values = page.get_by_role("region", name="Values of the day")
    expect(values).to_contain_text("40.5 %")
    expect(page.get_by_role("region", name=re.compile("Raw values, of 288 documents"))).to_contain_text("20.25")
    page.get_by_text("The search, for this host alone").click()
    expect(page.locator("pre")).to_contain_text("10.0.0.1")
    page.get_by_role("link", name="History of the host").click()
    chart = page.get_by_role("img", name=re.compile("Highest values by day"))
    expect(chart).to_be_visible()
    # Three days with values among five: two stretches, and a dot for each value.
    assert chart.locator(".line-0 circle").count() == 3
    assert chart.locator(".line-0 polyline").count() == 2
    expect(page.get_by_text("In the pool as web-1")).to_be_visible()


def test_any_host_can_be_looked_for(signed_in):
    page = signed_in
    textbox(page, "Host").fill("10.9.9.9")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    textbox(page, "Host").fill("10.0.0.1")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="Host 10.0.0.1")).to_be_visible()


def test_statistics_are_drawn_by_hour_and_day(signed_in):
    page = signed_in
    page.get_by_role("link", name="Statistics").click()
    expect(page.get_by_role("img", name=re.compile("Success rate by day"))).to_be_visible()
    page.get_by_role("combobox", name="By").select_option("hour")
    page.get_by_role("main").get_by_role("button", name="Show").click()
    expect(page.get_by_role("img", name=re.compile("Duration by hour"))).to_be_visible()


def test_what_many_executions_say_is_drawn_with_gaps_and_listed(signed_in):
    page = signed_in
    runs = {"success": 1, "partial": 0, "failed": 0, "cancelled": 0, "skipped": 0}
    hosts = {"success": 9, "failed": 1, "no_data": 0, "not_in_pool": 0, "cancelled": 0}

    def sums(day, rate, longest):
        duration = {"p50": longest, "p95": longest, "max": longest}
        return {"begin": f"2026-01-0{day}T00:00:00.000Z", "runs": runs, "hosts": hosts, "success_rate": rate, "no_data_rate": 0, "duration_ms": duration}

    buckets = [sums(1, 0.9, 1500), sums(2, None, None), sums(3, 1, 61000), sums(4, 0.5, 90000)]
    answer = {
        "success": True, "message": "3 ended executions", "bucket": "day", "buckets": buckets, "total": sums(1, 0.9, 90000),
        "from": "2026-01-01T00:00:00.000Z", "to": "2026-01-05T00:00:00.000Z",
        "hosts_failing_most": [{"host_ip": "10.0.0.1", "failures": 12}],
        "errors_seen_most": [{"error_message": "shard 3 failed", "hosts": 40, "last_seen": "2026-01-04T05:06:07.000Z"}],
    }
    page.route("**/es-sync-stats*", lambda route: route.fulfill(json=answer))
    page.get_by_role("link", name="Statistics").click()
    rate = page.get_by_role("img", name="Success rate by day. success rate: from 50 % to 100 %, last 50 %")
    expect(rate.locator("polyline")).to_have_count(2)
    expect(rate.locator("circle")).to_have_count(3)
    expect(page.get_by_role("img", name=re.compile("longest: from 1.5 s to 1 min 30 s"))).to_be_visible()
    expect(page.get_by_role("region", name="Errors seen most")).to_contain_text("shard 3 failed")
    page.get_by_role("region", name="Hosts that fail most").get_by_role("link", name="10.0.0.1").click()
    expect(page.get_by_role("heading", name="Host 10.0.0.1")).to_be_visible()


def test_a_viewer_is_told_in_a_sentence_what_it_may_not_do(page, viewer):
    sign_in(page, viewer)
    page.get_by_role("link", name="Run by hand").click()
    textbox(page, "Name").fill("not mine")
    textbox(page, "Hosts").fill("10.0.0.1")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="This token reads only")).to_be_visible()


def test_who_is_too_early_is_told_when_to_try_again(signed_in):
    page = signed_in
    refusal = {"success": False, "message": "the database is down", "code": "database_unavailable"}
    page.route("**/es-sync-stats*", lambda route: route.fulfill(status=429, headers={"Retry-After": "7"}, json=refusal))
    page.get_by_role("link", name="Statistics").click()
    expect(page.get_by_role("alert")).to_have_text("the database is down. Try again in 7 seconds.")


def test_a_token_that_is_no_longer_good_is_asked_for_again(signed_in):
    page = signed_in
    page.evaluate("sessionStorage.setItem('hostsync-token', 'changed-meanwhile')")
    page.get_by_role("link", name="Statistics").click()
    expect(page.get_by_text("does not know this token")).to_be_visible()


def test_a_stream_that_breaks_is_begun_again_behind_the_last_event(signed_in):
    page = signed_in
    state = {"execution_status": "running", "total_hosts": 2, "success_count": 1, "failed_count": 0, "no_data_count": 0,
             "not_in_pool_count": 0, "cancelled_count": 0, "pending_count": 1}
    heard = page.evaluate("""async (state) => {
        const { follow } = await import("/console/events.js");
        const ids = [], states = [];
        const answers = [
            () => new Response(`event: progress\\nid: one\\ndata: ${JSON.stringify(state)}\\n\\nevent: pro`),
            () => new Response("{}", { status: 429, headers: { "Retry-After": "1" } }),
            () => new Response(`: alive\\n\\nevent: end\\nid: two\\ndata: ${JSON.stringify({ ...state, pending_count: 0 })}\\n\\n`),
        ];
        window.fetch = async (_, { headers }) => { ids.push(headers.get("Last-Event-ID")); return answers.shift()(); };
        const hasEnded = await follow(1, (state) => states.push(state.pending_count), new AbortController().signal);
        return { ids, states, hasEnded };
    }""", state)
    assert heard == {"ids": [None, "one", "one"], "states": [1, 0], "hasEnded": True}


def test_values_are_written_for_people(page):
    written = page.evaluate("""async () => {
        const words = await import("/console/words.js"), chart = await import("/console/chart.js");
        return {
            times: [words.instant("2026-01-02T03:04:05.678Z"), words.instant(null),
                    words.instantIn("2026-07-06T00:30:00.000Z", "Europe/Berlin")],
            durations: [0, 999, 1500, 61000, 7260000, null].map(words.duration),
            shares: [1, 0.99875, 0, null].map(words.share),
            measured: [words.measured(0), words.measured(null, "%"), words.measured(57.5949, "GB")],
            tops: [0, 3, 7, 10, 1400].map(chart.roundTop),
            stretches: chart.stretches([5, null, 10, 20, null], 10),
        };
    }""")
    assert written == {
        "times": ["2026-01-02 03:04:05", "–", "Monday, 6 July 2026 at 02:30:00 (GMT+02:00)"],
        "durations": ["0 ms", "999 ms", "1.5 s", "1 min 1 s", "2 h 1 min", "–"],
        "shares": ["100 %", "99.88 %", "0 %", "–"],
        "measured": ["0", "–", "57.59 GB"],
        "tops": [1, 5, 10, 10, 2000],
        "stretches": [[[0, 0.5]], [[0.5, 1], [0.75, 1]]],
    }


def test_the_console_works_below_a_path(page, url, operator):
    page.goto("about:blank")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/below/**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/below/", "/"))))
    page.goto("/below/")
    sign_in(page, operator)
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    page.get_by_role("link", name="Executions", exact=True).first.click()
    expect(page.get_by_role("region", name="Executions, newest first")).to_be_visible()
    assert len(asked) > 20 and all(address.startswith(f"{url}below/") for address in asked)


def test_text_from_the_api_stays_text(signed_in):
    page = signed_in
    name = "<img src=x onerror=alert(1)><b>bold</b>"
    make_task(page, name)
    page.goto("/#/tasks")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    assert page.locator("main img, main b").count() == 0


def test_every_view_fits_a_phone_and_names_its_controls(signed_in):
    page = signed_in
    page.set_viewport_size({"width": 375, "height": 700})
    views = ["tasks", "tasks/new", "executions", "executions/1", "executions/1/hosts/10.0.0.1", "hosts/10.0.0.1", "run", "stats"]
    for view in views:
        page.goto(f"/#/{view}")
        expect(page.get_by_role("main")).not_to_have_attribute("aria-busy", "true")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, view
        nameless = page.evaluate("""[...document.querySelectorAll("input, select, textarea, button, a")].filter((control) =>
            !(control.labels?.length || control.ariaLabel || control.textContent.trim())).map((control) => control.outerHTML)""")
        assert nameless == [], view


def test_the_colours_follow_the_readers_preference(signed_in):
    page = signed_in
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == "rgb(20, 24, 29)"


def test_the_keyboard_leads_past_the_navigation_to_the_content(signed_in):
    page = signed_in
    page.reload()
    page.get_by_role("heading", name="Tasks").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name has")).to_be_focused()


def test_a_long_execution_is_shown_page_by_page_and_can_be_cancelled(signed_in, operator):
    page = signed_in
    body = {"task_name": "long", "host_ip_list": [f"10.4.0.{number}" for number in range(101)]}
    headers = {"Authorization": f"Bearer {operator}"}
    answer = page.request.post("/api/cmdb/v1/es-sync-execute", data=body, headers=headers)
    page.goto(f"/#/executions/{answer.json()['execution_id']}")
    hosts = page.get_by_role("region", name="Hosts of the execution").locator("tbody tr")
    expect(hosts).to_have_count(100)
    page.get_by_role("link", name="Next page").click()
    expect(hosts).to_have_count(1)
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    expect(hosts).to_have_count(100)
    page.go_back()
    expect(hosts).to_have_count(1)

    asked = []
    said = {"success": True, "message": "it is being cancelled"}
    page.route("**/cancel", lambda route: (asked.append(route.request.method), route.fulfill(json=said)))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("it is being cancelled")
    assert asked == ["POST"]
