from vlmscale.analysis.laws.power_law import fit_power_law as fit_power_law
from vlmscale.cli.audit import audit as audit
from vlmscale.cli.lifetime import compare_lifetimes as compare_lifetimes
from vlmscale.cli.next_cells import choose_next as choose_next
from vlmscale.cli.points import read_points as read_points
from vlmscale.cli.power import compare_designs as compare_designs
from vlmscale.cli.recommend import recommend as recommend
from vlmscale.errors import UserError as UserError
from vlmscale.evaluation.load import load_model as load_model
from vlmscale.study.load import load_study as load_study

__version__: str
