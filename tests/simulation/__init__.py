"""Simulation: the whole core and the front desk on virtual time, with faults between any two steps, from one seed."""
