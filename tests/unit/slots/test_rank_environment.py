"""The positions of ranks in their trial, and the environment variables for them."""

from __future__ import annotations

from hpsearch.slots.rank_environment import (
    RankPosition,
    Rendezvous,
    rank_positions,
    rank_variables,
    without_rank_variables,
)

RENDEZVOUS = Rendezvous(address="127.0.0.1", port=5, run="run")


def test_the_ranks_of_a_node_see_all_gpus_of_their_trial_there_the_first_of_each_at_its_local_rank():
    positions = rank_positions(
        ["a", "a", "b", "b"], ["4,5", "0,1", "2,3", "6,7"], ["1.1.1.1", "1.1.1.1", "2.2.2.2", "2.2.2.2"]
    )
    assert [position.gpus for position in positions] == ["4,0,5,1", "4,0,5,1", "2,6,3,7", "2,6,3,7"]
    assert [position.local_rank for position in positions] == [0, 1, 0, 1]
    assert [position.node_rank for position in positions] == [0, 0, 1, 1]
    assert {position.address for position in positions} == {"1.1.1.1"}, "of rank 0's node"


def test_ranks_on_one_node_meet_on_the_loopback():
    assert {position.address for position in rank_positions(["a", "a"], ["", ""], ["1.1.1.1", "1.1.1.1"])} == {
        "127.0.0.1"
    }


def test_a_trial_of_one_process_has_no_variables_of_ranks_and_others_have_what_torchrun_sets():
    assert rank_variables(RankPosition(), None) == {}
    (_, position) = rank_positions(["a", "a"], ["", ""], ["h", "h"])
    found = rank_variables(position, RENDEZVOUS)
    assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == ("1", "1", "2", "2")
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("127.0.0.1", "5")
    assert found["TORCHELASTIC_USE_AGENT_STORE"] == "True", "no rank listens itself"


def test_the_drivers_own_rank_in_a_parallel_program_is_not_passed_on():
    own = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_PORT": "1", "SLURM_NTASKS": "8", "OMPI_COMM_WORLD_RANK": "3"}
    kept = {"HOME": "/home/me", "HYDRA_FULL_ERROR": "1", "RANKING": "x"}
    assert without_rank_variables({**own, **kept}) == kept
