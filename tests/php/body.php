<?php
// Says how long a body is and what it adds up to: of an upload of a form, or of what came as it is.
if ($_FILES) {
    $path = $_FILES['file']['tmp_name'];
    echo filesize($path), ' ', hash_file('sha256', $path);
} else {
    $sum = hash_init('sha256');
    hash_update_stream($sum, fopen('php://input', 'r'));
    echo $_SERVER['CONTENT_LENGTH'], ' ', hash_final($sum);
}
