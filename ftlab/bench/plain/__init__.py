"""The plainest scripts of TRL and PEFT, as their own pages have them: what ftlab is measured against."""
