"""What a user would otherwise take for rooms over several servers, for `fleet experiment fanout`.

They are set up as their own documentation does, and none imports from `lab` or `echod`: what
they need is locked beside them (package-lock.json, requirements.txt), never among the project's
own dependencies. `install` gets their packages at first use, `servers` starts them.
"""
