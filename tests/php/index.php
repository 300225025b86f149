<?php
// A front controller that tells what it is told. Each POST leaves one byte in the file of `EXECUTED`.
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    file_put_contents($_SERVER['EXECUTED'], 'x', FILE_APPEND | LOCK_EX);
}
header('Content-Type: application/json');
echo json_encode($_SERVER);
