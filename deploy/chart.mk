# The chart for Kubernetes: included by the Makefile at the root.

CHART_TOOLS = .dev/chart

.PHONY: chart-tools chart-check

chart-tools: ## install helm, promtool and the checkers of the chart
	@deploy/dev/chart-tools

chart-check: chart-tools ## check what the chart renders, the alert rules and the runbook
	cargo build --workspace --bin hostsync-api --test it
	HOSTSYNC_API=$${CARGO_TARGET_DIR:-target}/debug/hostsync-api \
	    $(CHART_TOOLS)/venv/bin/python -B -m pytest -q -p no:cacheprovider tests/chart
