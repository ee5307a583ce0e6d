// Part of programs under the address sanitizer. Open MPI closes its component libraries in MPI_Finalize, and
// what they allocated and left is looked for at exit: with the library gone the report could not say whose it
// is, and lsan.supp, which goes by the library's name, would not match. So libraries stay loaded.
int dlclose(void* handle) {
    (void)handle;
    return 0;
}
