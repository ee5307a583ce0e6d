/* An MPI program whose ranks do what mpirun_test.py asks for:
 *
 *     rank_behaviour exit CODE [CODE...]     rank r exits with the r-th code (the last one repeats) after
 * MPI_Finalize rank_behaviour leave CODE [CODE...]    the same without MPI_Finalize, as after a fatal error
 *     rank_behaviour desert RANK CODE        rank RANK leaves with CODE without MPI_Finalize, others wait in
 * a barrier rank_behaviour abort RANK CODE         rank RANK calls MPI_Abort(CODE), the others wait
 *     rank_behaviour kill RANK SIGNAL        rank RANK sends itself SIGNAL, the others wait
 *     rank_behaviour usr1 SECONDS CODE       waits for SIGUSR1, works SECONDS, then every rank exits with
 * CODE rank_behaviour env NAME                rank 0 prints the variable's value rank_behaviour affinity
 * every rank prints the number of cores it may run on rank_behaviour barriers N              N barriers; rank
 * 0 prints the seconds they took
 */
#define _GNU_SOURCE
#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t g_stop = 0;
static void on_usr1(int sig) {
    (void)sig;
    g_stop = 1;
}

int main(int argc, char** argv) {
    signal(SIGUSR1, on_usr1);
    if (argc < 2) return 2;
    const char* what = argv[1];
    MPI_Init(&argc, &argv);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!strcmp(what, "exit") || !strcmp(what, "leave")) {
        int index = 2 + rank < argc ? 2 + rank : argc - 1;
        int code = atoi(argv[index]);
        if (!strcmp(what, "exit")) {
            MPI_Finalize();
            exit(code);
        }
        _exit(code);
    }
    if (!strcmp(what, "desert")) {
        if (rank == atoi(argv[2])) _exit(atoi(argv[3]));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    if (!strcmp(what, "abort")) {
        if (rank == atoi(argv[2])) MPI_Abort(MPI_COMM_WORLD, atoi(argv[3]));
        sleep(60);
    }
    if (!strcmp(what, "kill")) {
        if (rank == atoi(argv[2])) raise(atoi(argv[3]));
        sleep(60);
    }
    if (!strcmp(what, "usr1")) {
        if (rank == 0) {
            printf("waiting\n");
            fflush(stdout);
        }
        int stop = 0;
        while (!stop) { /* all ranks agree, as the trainer does */
            int mine = g_stop;
            MPI_Allreduce(&mine, &stop, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
            usleep(10000);
        }
        usleep((useconds_t)(atof(argv[2]) * 1e6));
        if (rank == 0) {
            printf("saved\n");
            fflush(stdout);
        }
        MPI_Finalize();
        exit(atoi(argv[3]));
    }
    if (!strcmp(what, "env")) {
        const char* value = getenv(argv[2]);
        if (rank == 0) printf("%s=%s\n", argv[2], value ? value : "");
    } else if (!strcmp(what, "affinity")) {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        printf("cores=%d\n", CPU_COUNT(&set));
    } else if (!strcmp(what, "barriers")) {
        double start = MPI_Wtime();
        for (int i = 0; i < atoi(argv[2]); ++i) MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 0) printf("seconds=%g\n", MPI_Wtime() - start);
    } else {
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    MPI_Finalize();
    return 0;
}
