"""python -m attrinet"""

from attrinet.cli import main

main()
