"""Where everything of a study stands, below one folder."""

from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = "3d_fullres"
STUDY_FILE, JOBS_FILE, SETTINGS_FILE = "study.json", "jobs.json", "report.json"


@dataclass(frozen=True)
class Run:
    """One training of an arm: the random numbers and the fold of the source."""

    seed: int
    fold: int

    @property
    def name(self) -> str:
        return f"seed{self.seed}_fold{self.fold}"


@dataclass(frozen=True)
class Layout:
    """Paths below a study's folder."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "nnUNet_raw"

    @property
    def preprocessed(self) -> Path:
        return self.folder / "nnUNet_preprocessed"

    @property
    def models(self) -> Path:
        return self.folder / "nnUNet_results"

    @property
    def results(self) -> Path:
        """What the report shows: one folder per arm, statistics, notes."""
        return self.folder / "results"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def study(self) -> Path:
        return self.folder / STUDY_FILE

    @property
    def jobs(self) -> Path:
        return self.folder / JOBS_FILE

    def record(self, job: str) -> Path:
        """What a job left when it ended, by its name `kind/name`."""
        return self.folder / "jobs" / f"{job}.json"

    def log(self, job: str) -> Path:
        return self.folder / "logs" / f"{job}.log"

    def predictions(self, arm: str, run: Run, dataset: str) -> Path:
        return self.folder / "predictions" / arm / run.name / dataset

    def evaluation(self, arm: str, run: Run, dataset: str = "") -> Path:
        return self.folder / "evaluation" / arm / run.name / dataset

    def adapted(self, arm: str, run: Run) -> Path:
        """Model folder of an arm that changes a trained model."""
        return self.folder / "adapted" / arm / run.name
