# The development servers: included by the Makefile at the root.

DB ?= mariadb

.PHONY: up down status

up: ## start the development servers of this checkout (DB=mysql for MySQL)
	@DB=$(DB) deploy/dev/servers up

down: ## stop the development servers of this checkout
	@deploy/dev/servers down

status: ## show the development servers of this checkout
	@deploy/dev/servers status || true
