# The development servers: included by the Makefile at the root.

# One of each kind; deploy/dev/servers lists them.
DB ?= mariadb
BROKER ?= rabbitmq
ENGINE ?= opensearch

.PHONY: up down status

up: ## start the development servers of this checkout (others by DB=mysql-9.7 BROKER=rabbitmq-4.3 ENGINE=opensearch-3)
	@DB=$(DB) BROKER=$(BROKER) ENGINE=$(ENGINE) deploy/dev/servers up

down: ## stop the development servers of this checkout
	@deploy/dev/servers down

status: ## show the development servers of this checkout
	@deploy/dev/servers status || true
