"""The one table of verbs: command line, `--json`, steps and reference pages are made from it."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Verb:
    """A command: its words, one line of help, and where its schema, door and display live.

    Places are `module:name`, imported only when the verb is used.
    """

    name: str
    summary: str
    schema: str
    door: str
    show: str
    makes: str | None = None
    """Kind of the folder it makes; None for a verb that makes none."""

    @property
    def result(self) -> str:
        """Where the result schema lives: beside the configuration, `XConfig` → `XResult`."""
        return self.schema.removesuffix("Config") + "Result"


def load(place: str) -> Any:
    """Import what `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


GROUPS = {
    "data": "Read, check, split and look at data.",
    "runs": "List, show, compare and plot training runs.",
    "import": "Bring home what was made elsewhere.",
    "keys": "API keys of the server: make, list, revoke.",
}
"""First words that several verbs share."""

VERBS = (
    Verb(
        "quickstart",
        "The whole journey on the embedded model and real data; finished steps are not done again.",
        schema="tunesmith.cli.quickstart:QuickstartConfig",
        door="tunesmith.cli.quickstart:quickstart",
        show="tunesmith.cli.quickstart:show_quickstart",
    ),
    Verb(
        "decide",
        "Whether to fine-tune, with measured evidence and a recipe.",
        schema="tunesmith.decide.schema:DecideConfig",
        door="tunesmith.decide:decide",
        show="tunesmith.cli.show_decide:show_decide",
        makes="plan",
    ),
    Verb(
        "data fetch",
        "Fetch a public data set from its package into the workspace.",
        schema="tunesmith.data.schema:FetchConfig",
        door="tunesmith.data:fetch",
        show="tunesmith.cli.show_data:show_fetch",
        makes="source",
    ),
    Verb(
        "data documents",
        "Read txt, md, html, docx and pdf into rows of plain text, cut on their structure.",
        schema="tunesmith.data.documents.schema:DocumentsConfig",
        door="tunesmith.data.documents:documents",
        show="tunesmith.cli.show_documents:show_documents",
        makes="source",
    ),
    Verb(
        "data check",
        "What is wrong with the data, what is odd, and what they are made of.",
        schema="tunesmith.data.check.schema:CheckConfig",
        door="tunesmith.data.check:check",
        show="tunesmith.cli.show_check:show_check",
        makes="check",
    ),
    Verb(
        "data selftest",
        "How well the checks find faults that are planted into your own data.",
        schema="tunesmith.data.selftest.schema:SelftestConfig",
        door="tunesmith.data.selftest:selftest",
        show="tunesmith.cli.show_selftest:show_selftest",
        makes="selftest",
    ),
    Verb(
        "data prepare",
        "Read, validate, group and split a file of any layout into a data set without leaks.",
        schema="tunesmith.data.schema:PrepareConfig",
        door="tunesmith.data:prepare",
        show="tunesmith.cli.show_data:show_prepare",
        makes="data-set",
    ),
    Verb(
        "data clean",
        "Declared steps over a data set: each change and drop listed, a dry run first.",
        schema="tunesmith.data.clean.schema:CleanConfig",
        door="tunesmith.data.clean:clean",
        show="tunesmith.cli.show_clean:show_clean",
        makes="data-set",
    ),
    Verb(
        "data balance",
        "Even out a data set by a key: caps, temperature, or weights that are written down.",
        schema="tunesmith.data.select.schema:BalanceConfig",
        door="tunesmith.data.select:balance",
        show="tunesmith.cli.show_select:show_balance",
        makes="data-set",
    ),
    Verb(
        "data select",
        "Choose training rows by a method, beside random and length-stratified controls.",
        schema="tunesmith.data.select.schema:SelectConfig",
        door="tunesmith.data.select:select",
        show="tunesmith.cli.show_select:show_select",
        makes="data-set",
    ),
    Verb(
        "data ablate",
        "Whether a selection trains a better model than random rows and than all, with an interval.",
        schema="tunesmith.data.ablate.schema:AblateConfig",
        door="tunesmith.data.ablate:ablate",
        show="tunesmith.cli.show_ablate:show_ablate",
        makes="ablation",
    ),
    Verb(
        "data synthesize",
        "More training rows from a teacher behind /v1: checked, new, marked, never tested on.",
        schema="tunesmith.data.synthesize.schema:SynthesizeConfig",
        door="tunesmith.data.synthesize:synthesize",
        show="tunesmith.cli.show_synthesize:show_synthesize",
        makes="data-set",
    ),
    Verb(
        "data convert",
        "Write the rows of a file in another layout, proved by reading them again.",
        schema="tunesmith.data.convert.schema:ConvertConfig",
        door="tunesmith.data.convert:convert",
        show="tunesmith.cli.show_convert:show_convert",
    ),
    Verb(
        "data pool",
        "Active learning: which rows of a pool to label next, with the probability of each.",
        schema="tunesmith.data.pool.schema:PoolConfig",
        door="tunesmith.data.pool:pool",
        show="tunesmith.cli.show_pool:show_pool",
        makes="data-set",
    ),
    Verb(
        "data review",
        "People look at rows and say what becomes of them; agreement, error rate, sign-off.",
        schema="tunesmith.data.review.schema:ReviewConfig",
        door="tunesmith.cli.review_terminal:review",
        show="tunesmith.cli.show_review:show_review",
        makes="data-set",
    ),
    Verb(
        "data split",
        "Draw new splits of a data set: stratified, by time, by group, or with its tests frozen.",
        schema="tunesmith.data.schema:SplitConfig",
        door="tunesmith.data.preparation:split",
        show="tunesmith.cli.show_data:show_prepare",
        makes="data-set",
    ),
    Verb(
        "data card",
        "Document a data set: card in Hugging Face form, Croissant, lineage, what is open.",
        schema="tunesmith.data.schema:CardConfig",
        door="tunesmith.data.publishing:make_card",
        show="tunesmith.cli.show_data:show_card",
        makes="card",
    ),
    Verb(
        "data show",
        "Rows of a file or a data set, as conversations.",
        schema="tunesmith.data.schema:ShowConfig",
        door="tunesmith.data:show",
        show="tunesmith.cli.show_data:show_show",
    ),
    Verb(
        "train",
        "Train what a recipe says; live progress, best checkpoint, resumable.",
        schema="tunesmith.train.schema:TrainConfig",
        door="tunesmith.train:train",
        show="tunesmith.cli.show_train:show_train",
        makes="run",
    ),
    Verb(
        "replay",
        "Repeat a finished run from its folder and compare every step and byte.",
        schema="tunesmith.train.schema:ReplayConfig",
        door="tunesmith.train:replay",
        show="tunesmith.cli.show_runs:show_replay",
        makes="run",
    ),
    Verb(
        "runs list",
        "Every run, with its state, losses and cost.",
        schema="tunesmith.train.schema:RunsListConfig",
        door="tunesmith.train:list_runs",
        show="tunesmith.cli.show_runs:show_list",
    ),
    Verb(
        "runs show",
        "All facts about a run: settings, losses, proofs, cost.",
        schema="tunesmith.train.schema:RunsShowConfig",
        door="tunesmith.train:show_run",
        show="tunesmith.cli.show_runs:show_run",
    ),
    Verb(
        "runs compare",
        "Two runs: settings that differ, losses, cost.",
        schema="tunesmith.train.schema:RunsCompareConfig",
        door="tunesmith.train:compare_runs",
        show="tunesmith.cli.show_runs:show_compare",
    ),
    Verb(
        "runs plot",
        "Draw a number of one or more runs in the terminal.",
        schema="tunesmith.train.schema:RunsPlotConfig",
        door="tunesmith.train:plot_runs",
        show="tunesmith.cli.show_runs:show_plot",
    ),
    Verb(
        "evaluate",
        "Answer a held-out set with a model and score the answers, with intervals.",
        schema="tunesmith.evaluate.schema:EvaluateConfig",
        door="tunesmith.evaluate:evaluate",
        show="tunesmith.cli.show_evaluate:show_evaluate",
        makes="report",
    ),
    Verb(
        "power",
        "How many items a difference needs, from one report, before there is a candidate.",
        schema="tunesmith.evaluate.power.schema:PowerConfig",
        door="tunesmith.evaluate.power.door:power",
        show="tunesmith.cli.show_power:show_power",
    ),
    Verb(
        "benchmark",
        "Run tasks of lm-eval or Inspect on a model, offline, and make a report of the results.",
        schema="tunesmith.evaluate.benchmark.schema:BenchmarkConfig",
        door="tunesmith.evaluate.benchmark.door:benchmark",
        show="tunesmith.cli.show_import:show_import",
        makes="report",
    ),
    Verb(
        "import-results",
        "A report of what lm-eval, Inspect or promptfoo measured, to compare, guard and rank like our own.",
        schema="tunesmith.evaluate.imported.schema:ImportConfig",
        door="tunesmith.evaluate.imported.door:import_results",
        show="tunesmith.cli.show_import:show_import",
        makes="report",
    ),
    Verb(
        "compare",
        "Two reports or more on the same items: better, tied, worse, or not enough data.",
        schema="tunesmith.evaluate.comparison.schema:CompareConfig",
        door="tunesmith.evaluate:compare",
        show="tunesmith.cli.show_compare:show_compare",
        makes="comparison",
    ),
    Verb(
        "rank",
        "Two or more models in order, by a judge or a score, with intervals and style control.",
        schema="tunesmith.evaluate.ranking.schema:RankConfig",
        door="tunesmith.evaluate.ranking.door:rank",
        show="tunesmith.cli.show_evaluate:show_rank",
        makes="ranking",
    ),
    Verb(
        "gate",
        "Whether a candidate may take a model's place, by a declared rule; exits with 0 or 1.",
        schema="tunesmith.evaluate.gate.schema:GateConfig",
        door="tunesmith.evaluate.gate.door:gate",
        show="tunesmith.cli.show_evaluate:show_gate",
        makes="gate",
    ),
    Verb(
        "answers",
        "Answers of a report, drawn at random, as a data set that people review.",
        schema="tunesmith.evaluate.validate.schema:AnswersConfig",
        door="tunesmith.evaluate.validate.door:answers",
        show="tunesmith.cli.show_validate:show_answers",
        makes="data-set",
    ),
    Verb(
        "validate",
        "People's verdicts on a report's answers: how far the judge agrees, its errors taken off.",
        schema="tunesmith.evaluate.validate.schema:ValidateConfig",
        door="tunesmith.evaluate.validate.door:validate",
        show="tunesmith.cli.show_validate:show_validate",
        makes="validation",
    ),
    Verb(
        "report",
        "One self-contained page about data, training and results: HTML, Markdown, JSON.",
        schema="tunesmith.evaluate.report.schema:ReportConfig",
        door="tunesmith.evaluate.report:report",
        show="tunesmith.cli.show_report:show_report",
        makes="summary",
    ),
    Verb(
        "chat",
        "Talk to a model in the terminal.",
        schema="tunesmith.serve.schema:ChatConfig",
        door="tunesmith.serve:chat",
        show="tunesmith.cli.show_serve:show_chat",
    ),
    Verb(
        "import openai",
        "Fetch the fine-tuning jobs of an OpenAI project, and train them here.",
        schema="tunesmith.api.bringing.schema:ImportOpenaiConfig",
        door="tunesmith.api.bringing.door:import_openai",
        show="tunesmith.cli.show_bringing:show_brought",
        makes="import",
    ),
    Verb(
        "keys create",
        "Make an API key of the server; it is shown once.",
        schema="tunesmith.api.keys.schema:CreateKeyConfig",
        door="tunesmith.api.keys.doors:create",
        show="tunesmith.cli.show_keys:show_created",
    ),
    Verb(
        "keys list",
        "The API keys that were made.",
        schema="tunesmith.api.keys.schema:ListKeysConfig",
        door="tunesmith.api.keys.doors:list_keys",
        show="tunesmith.cli.show_keys:show_keys",
    ),
    Verb(
        "keys revoke",
        "Refuse an API key from now on.",
        schema="tunesmith.api.keys.schema:RevokeKeyConfig",
        door="tunesmith.api.keys.doors:revoke",
        show="tunesmith.cli.show_keys:show_revoked",
    ),
    Verb(
        "serve",
        "Serve models behind the OpenAI API; each request is recorded.",
        schema="tunesmith.serve.schema:ServeConfig",
        door="tunesmith.api.serving:serve",
        show="tunesmith.cli.show_serve:show_serve",
    ),
    Verb(
        "monitor",
        "Requests, errors and latency from the record.",
        schema="tunesmith.monitor.schema:MonitorConfig",
        door="tunesmith.monitor:monitor",
        show="tunesmith.cli.show_monitor:show_monitor",
    ),
    Verb(
        "models",
        "The models that are there, and where they are.",
        schema="tunesmith.cli.models:ModelsConfig",
        door="tunesmith.cli.models:models",
        show="tunesmith.cli.models:show_models",
    ),
    Verb(
        "lineage",
        "What a folder was made from, and what was made from it.",
        schema="tunesmith.cli.lineage:LineageConfig",
        door="tunesmith.cli.lineage:lineage",
        show="tunesmith.cli.lineage:show_lineage",
    ),
    Verb(
        "reindex",
        "Rebuild the index of folders from their manifests.",
        schema="tunesmith.cli.lineage:ReindexConfig",
        door="tunesmith.cli.lineage:reindex",
        show="tunesmith.cli.lineage:show_reindex",
    ),
    Verb(
        "doctor",
        "What this machine has, and what would be fast here.",
        schema="tunesmith.cli.doctor:DoctorConfig",
        door="tunesmith.cli.doctor:doctor",
        show="tunesmith.cli.doctor:show_doctor",
    ),
    Verb(
        "completion",
        "Print the line that turns on shell completion.",
        schema="tunesmith.cli.completion:CompletionConfig",
        door="tunesmith.cli.completion:completion",
        show="tunesmith.cli.completion:show_completion",
    ),
)

BY_NAME = {verb.name: verb for verb in VERBS}
