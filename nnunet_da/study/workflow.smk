# The rules of a study for Snakemake: one per kind of job, all read from jobs.json. `nnunet-da study` starts this; by hand:
#   snakemake -s workflow.smk --directory STUDY --config python=$(which python) watch=none --cores 2 --keep-going
# Scheduling, resources, clusters and what is out of date are Snakemake's; a job runs its commands and leaves its record.

import json
from pathlib import Path

CONTENT = json.loads(Path("jobs.json").read_text(encoding="utf-8"))
JOBS = CONTENT["jobs"]
KINDS = list(dict.fromkeys(name.split("/")[0] for name in JOBS))


def record(name):
    return f"jobs/{name}.json"


rule all:
    input:
        [record(name) for name in JOBS],


for KIND in KINDS:
    RESOURCES = CONTENT["resources"][KIND]

    rule:
        name:
            KIND
        input:
            lambda wildcards, kind=KIND: [record(need) for need in JOBS[f"{kind}/{wildcards.name}"]["needs"]],
        output:
            f"jobs/{KIND}/{{name}}.json",
        params:
            job=lambda wildcards, kind=KIND: f"{kind}/{wildcards.name}",
        threads: RESOURCES["threads"]
        resources:
            gpu=RESOURCES["gpu"],
            mem_mb=RESOURCES["mem_mb"],
            runtime=RESOURCES["runtime"],
        shell:
            "{config[python]:q} -m nnunet_da.study.job . {params.job} --watch {config[watch]}"
