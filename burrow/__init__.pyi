from burrow.errors import BurrowError as BurrowError
from burrow.program.api import aforward as aforward
from burrow.program.api import forward as forward
from burrow.program.listening import alisten as alisten
from burrow.program.listening import listen as listen
from burrow.program.records import Request as Request
from burrow.program.serving import aserve as aserve
from burrow.program.serving import serve as serve
from burrow.program.serving import serving as serving
from burrow.program.tunnel import Tunnel as Tunnel

__version__: str
