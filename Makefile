# Each target is a script or a command that can be run by hand as well.
.DEFAULT_GOAL := help
.PHONY: help setup deploy vault test lint bench lock docs clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Install what is missing and build the images
	@scripts/setup

deploy: setup ## Bring up the sandbox host and deploy a verified gateway on it
	@. .venv/bin/activate && start=$$(date +%s) && ansible-playbook site.yml && { grep -q '^site.yml' .sandbox/setup.times \
	  || printf 'site.yml\t%s\n' $$(($$(date +%s) - start)) >> .sandbox/setup.times; }

vault: setup ## Ask for the secrets of a real account and write them encrypted; FILE=... for another file
	@.venv/bin/python scripts/vault $(FILE)

test: ## Run every check: lint, molecule's scenarios, pytest
	@scripts/test

lint: ## Run only the linters and the type checker
	@scripts/test lint

bench: setup ## Measure everything in less than 30 minutes; the result is bench/RESULTS.md
	@. .venv/bin/activate && . .sandbox/engine.env && export DOCKER_HOST && python -m bench

lock: ## Renew requirements/*.lock from requirements/*.in
	@scripts/lock

docs: setup ## Renew the generated parts of docs/
	@.venv/bin/python scripts/generate_docs.py

clean: ## Remove everything the other targets created, except system packages
	@scripts/clean
